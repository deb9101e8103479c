"""A site of the viewer as a server would serve it, and a browser that looks at it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Browser, find_browser
from places import GOLDEN, ROOT, TESTS
from served import served

WEB = ROOT / "aecodec" / "web"


def built(folder: Path) -> None:
    """The viewer built from what lies in the checkout; where npm was never asked, what scripts/build_web left."""
    if (WEB / "node_modules").is_dir() and (node := shutil.which("node")):
        subprocess.run([node, WEB / "build.js", folder], check=True, capture_output=True)
    elif (WEB / "dist").is_dir():
        shutil.copytree(WEB / "dist", folder)
    else:
        pytest.skip("the viewer is not built: scripts/build_web")


class Site:
    """A folder that is served. url: of it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url

    def put(self, name: str, data: bytes) -> str:
        """Serve bytes under a name -> the name."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return name

    def put_model(self, path: Path) -> None:
        """Serve a checkpoint where the page looks for it."""
        from aecodec.zoo.registry import read_header

        self.put(f"models/{read_header(path)['fingerprint'].hex()}.safetensors", path.read_bytes())


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if find_browser() is None:
        pytest.skip("no chromium")
    folder = tmp_path_factory.mktemp("web") / "site"
    built(folder)
    shutil.copy(TESTS / "web" / "probe.js", folder)
    (folder / "probe.html").write_text('<!doctype html><script type="module" src="probe.js"></script>')
    with served(folder) as url:
        opened = Site(folder, url)
        for path in GOLDEN.glob("*/exact-hyperprior.safetensors"):
            opened.put(f"golden/{path.parent.name}.safetensors", path.read_bytes())
        yield opened


@pytest.fixture(scope="session")
def browser(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="session")
def probe(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser of its own in whose page `probe` is what probe.js makes of it."""
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.go(f"{site.url}probe.html")
        yield opened
        assert not [line for line in opened.said if "Content Security Policy" in line]
