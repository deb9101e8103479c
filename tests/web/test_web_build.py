"""What the viewer is built from: one package of others, pages without anything inline, nothing from elsewhere."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from places import ROOT

WEB = ROOT / "aecodec" / "web"
PAGES = sorted((WEB / "static").glob("*.html"))


class Tags(HTMLParser):
    """Every tag of a page with its attributes, and text that is a script or a style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.inline: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style") and data.strip():
            self.inline.append(data)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_hold_nothing_inline_and_name_nothing_elsewhere(path):
    page = Tags(path.read_text(encoding="utf-8"))
    assert not page.inline
    for tag, attributes in page.tags:
        assert tag != "style"
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        for address in (attributes.get("src"), attributes.get("href")):
            assert address is None or (WEB / "static" / address).exists() or address.endswith(".js")
    policies = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert "default-src 'none'" in policies[0]
    assert "unsafe-inline" not in policies[0]
    assert "unsafe-eval" not in policies[0].replace("wasm-unsafe-eval", "")


def test_styles_load_nothing():
    for path in (WEB / "static").glob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert "url(" not in text
        assert "@import" not in text


def test_one_package_is_taken_in_and_no_registry_is_named():
    package = json.loads((WEB / "package.json").read_text(encoding="utf-8"))
    assert list(package["dependencies"]) == ["onnxruntime-web"]
    lock = json.loads((WEB / "package-lock.json").read_text(encoding="utf-8"))
    entries = {name: entry for name, entry in lock["packages"].items() if name}
    assert not [name for name, entry in entries.items() if "resolved" in entry]
    assert all(entry["integrity"].startswith("sha512-") for entry in entries.values())
