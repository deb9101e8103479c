"""Logs: what is written is read, and whatever else stands in one is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aecodec.contracts import LogError
from aecodec.data.moves import is_temporary, new_temporary
from aecodec.search.journal import Header, Journal, Link, Move, read_log

TEMPORARY = new_temporary()
NAMES = st.binary(min_size=1, max_size=40).map(
    lambda name: "/" + name.replace(b"/", b"_").replace(b"\0", b"_").decode("utf-8", "surrogateescape") + ".png"
)
STAMPS = st.integers(-(1 << 63), (1 << 63) - 1)
SIZES = st.integers(1, (1 << 63) - 1)
MOVES = st.builds(Move, NAMES, NAMES, SIZES, STAMPS, st.just(TEMPORARY))
LINKS = st.builds(Link, NAMES, NAMES, SIZES, STAMPS, st.integers(0, 0xFFFF), st.just("0f" * 32), st.just(TEMPORARY))
LOGS = st.one_of(
    st.tuples(st.sampled_from(["move", "trash"]), st.lists(MOVES, max_size=3)),
    st.tuples(st.just("link"), st.lists(LINKS, max_size=3)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For logs, each of which is written anew."""
    return tmp_path_factory.mktemp("logs")


def written(folder: Path, action: str, steps: list) -> Path:
    path = folder / "a.log"
    path.unlink(missing_ok=True)
    journal = Journal(path, Header(action, ("/photos",)))
    for step in steps:
        journal.add(step)
    journal.close()
    return path


@given(log=LOGS)
def test_what_is_written_is_read_as_long_as_its_line_is_whole(log, folder):
    action, steps = log
    path = written(folder, action, steps)
    assert read_log(path) == (Header(action, ("/photos",)), steps)
    data = path.read_bytes()
    assert data.isascii()
    path.write_bytes(data[:-1])
    if steps:
        assert read_log(path)[1] == steps[:-1]
    else:
        with pytest.raises(LogError):
            read_log(path)


@given(log=LOGS, data=st.data())
def test_whatever_stands_in_a_log_is_read_or_refused(log, data, folder):
    """Bytes changed, cut or put in: one line of a named error, or steps that are all of pictures."""
    path = written(folder, *log)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content)))
    content[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    path.write_bytes(content)
    steps, refusal = [], f"{path}: "
    try:
        _, steps = read_log(path)
    except LogError as error:
        refusal = str(error)
    assert refusal.startswith(f"{path}: ")
    assert refusal.isprintable()
    for step in steps:
        ends = (step.path, step.to) if isinstance(step, Move) else (step.path, step.kept)
        assert all(Path(end).is_absolute() and ".." not in Path(end).parts for end in ends)
        assert is_temporary(step.temporary)


@settings(max_examples=30)
@given(
    value=st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_no_other_json_is_a_log(value, folder):
    path = folder / "b.log"
    path.write_text(json.dumps(value) + "\n")
    with pytest.raises(LogError):
        read_log(path)
