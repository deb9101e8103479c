"""The list that a page saves: what it names is read as it was, and whatever else it says is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_pictures import chosen, furnish

from aecodec.contracts import LogError
from aecodec.search.choices import pairs_of, path_of_uri, read_choices, uri_of


def entry(path: Path, **others: object) -> dict:
    one = chosen(path, path.parent)
    return {"uri": uri_of(path), "size": str(one.size), "modified": str(one.modified), "root": 0, **others}


@pytest.fixture
def content(tmp_path: Path) -> dict:
    """A list of one group of three."""
    root = tmp_path / "photos"
    furnish(root)
    keep, first, second = (entry(root / name) for name in ("keep.png", "a.png", "-rf.png"))
    groups = [{"keep": [keep], "others": [first, second]}]
    return {"what": "aecodec dedup list", "version": 1, "roots": [uri_of(root)], "groups": groups}


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "list.json"
    path.write_text(json.dumps(content))
    return path


def test_a_list_is_read_as_it_was(content, tmp_path):
    root = tmp_path / "photos"
    roots, choices = read_choices(written(tmp_path, content))
    assert roots == [root]
    assert pairs_of(choices) == [
        (chosen(root / "keep.png", root), chosen(root / name, root)) for name in ("a.png", "-rf.png")
    ]


def test_an_exact_copy_is_kept_for_a_picture_if_there_is_one(content, tmp_path):
    root = tmp_path / "photos"
    (root / "twin.png").write_bytes((root / "a.png").read_bytes())
    content["groups"][0]["keep"].append(entry(root / "twin.png"))
    _, choices = read_choices(written(tmp_path, content))
    assert [kept.path.name for kept, _ in pairs_of(choices)] == ["twin.png", "keep.png"]


@given(
    name=st.binary(min_size=1, max_size=60).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b".."))
)
def test_every_name_has_an_address(name):
    path = Path("/photos", name.decode("utf-8", "surrogateescape"))
    assert uri_of(path).isascii()
    assert path_of_uri(uri_of(path)) == path


FORGED = {
    "nothing": lambda content: {},
    "another file": lambda content: {**content, "what": "recipe"},
    "no roots": lambda content: {**content, "roots": []},
    "nothing kept": lambda content: content["groups"][0].update(keep=[]) or content,
    "a picture twice": lambda content: content["groups"].append(content["groups"][0]) or content,
    "a picture kept and not": lambda content: (
        content["groups"][0]["keep"].append(content["groups"][0]["others"][0]) or content
    ),
    "no address": lambda content: content["groups"][0]["others"][0].update(uri="/photos/a.png") or content,
    "another scheme": lambda content: content["groups"][0]["others"][0].update(uri="https://a/b.png") or content,
    "a path that goes up": lambda content: (
        content["groups"][0]["others"][0].update(uri="file:///a/../b.png") or content
    ),
    "no picture": lambda content: content["groups"][0]["others"][0].update(uri="file:///etc/passwd") or content,
    "a zero": lambda content: content["groups"][0]["others"][0].update(uri="file:///a%00.png") or content,
    "a number": lambda content: content["groups"][0]["others"][0].update(size=7) or content,
    "no digits": lambda content: content["groups"][0]["others"][0].update(size="²") or content,
    "too many digits": lambda content: content["groups"][0]["others"][0].update(size="9" * 99) or content,
    "another root": lambda content: content["groups"][0]["others"][0].update(root=1) or content,
}


@pytest.mark.parametrize("forgery", FORGED)
def test_a_forged_list_is_refused(forgery, content, tmp_path):
    with pytest.raises(LogError, match=r"list\.json: ") as refused:
        read_choices(written(tmp_path, FORGED[forgery](content)))
    assert "\n" not in str(refused.value)
