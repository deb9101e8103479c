"""Compiled kernels: built once, kept where this user alone writes, and never run unless they are what was kept."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from extras import needs

from aecodec import native_build
from aecodec.contracts import MissingDependencyError
from aecodec.index import native_engine
from aecodec.index.native_engine import CEngine

#: A library that tells of itself when it is loaded.
PLANTED = '__attribute__((constructor)) static void planted(void) { fclose(fopen("%s", "w")); }'
SEARCH = """
import sys, numpy as np
from aecodec.index.native import NativeScanner
codes = np.arange(8000, dtype=np.uint8).reshape(1000, 8)
scanner = NativeScanner(codes, engine_name=sys.argv[1])
print(scanner.engine, scanner.search(codes[:1], 1)[1].tolist(), scanner.range_search(codes[:1], 0)[0].tolist())
"""


@pytest.fixture
def compiles(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The compiler's command lines that are run from now on."""
    seen: list[list[str]] = []
    run = subprocess.run
    monkeypatch.setattr(
        native_build.subprocess, "run", lambda command, **options: seen.append(command) or run(command, **options)
    )
    return seen


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling is quick; what is made is as slow as it likes."""
    monkeypatch.setattr(native_build, "_FLAGS", ("-O0", "-std=gnu11", "-shared", "-fPIC", "-w"))


def load(cache: Path) -> CEngine:
    """The engine of a library that is kept in a cache, or made; it counts right."""
    engine = CEngine(native_build.load(native_engine.KERNELS, cache, native_engine._check))
    codes = np.arange(5600, dtype=np.uint32).view(np.uint8)[:5600].reshape(700, 8)
    assert engine.count(codes, codes[:1], 64, engine.ticket(700, 512), 512).tolist() == [700]
    return engine


def kept(cache: Path) -> Path:
    """The one library of a cache."""
    (path,) = native_build.kept_in(cache).iterdir()
    return path


def test_a_library_is_built_once_and_kept_for_this_user_alone(tmp_path, compiles):
    before = os.umask(0)
    try:
        load(tmp_path / "cache")
    finally:
        os.umask(before)
    path = kept(tmp_path / "cache")
    assert [stat.S_IMODE(place.stat().st_mode) for place in (path, path.parent, tmp_path / "cache")] == [
        0o600,
        0o700,
        0o700,
    ]
    load(tmp_path / "cache")
    assert len(compiles) == 1
    assert kept(tmp_path / "cache") == path


def test_its_name_depends_on_the_processor(tmp_path, monkeypatch):
    load(tmp_path)
    monkeypatch.setattr(native_build, "processor_flags", lambda: None)
    load(tmp_path)
    assert len(list(native_build.kept_in(tmp_path).iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:5000], lambda data: bytes(len(data))])
def test_a_cut_or_zeroed_library_is_built_anew(tmp_path, compiles, damage):
    load(tmp_path)
    path = kept(tmp_path)
    data = path.read_bytes()
    path.write_bytes(damage(data))
    load(tmp_path)
    assert len(compiles) == 2
    load(tmp_path)
    assert len(compiles) == 2
    assert kept(tmp_path).stat().st_size == len(data)


@pytest.fixture
def planted(tmp_path: Path) -> tuple[bytes, Path]:
    """A working library with something added, and the file that it makes when it is loaded."""
    told = tmp_path / "ran"
    source = tmp_path / "planted.c"
    source.write_text(
        f'#include <stdio.h>\n#include "{native_engine.KERNELS.sources[0]}"\n{PLANTED % told}\n', encoding="utf-8"
    )
    command = [*native_build.compiler(), *native_build._FLAGS, "-o", str(tmp_path / "planted.so")]
    subprocess.run([*command, str(source)], check=True)
    return (tmp_path / "planted.so").read_bytes(), told


def as_other_owner(path: Path, cache: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root to give a file away")
    os.chown(path, 65534, 65534)


def as_link(path: Path, cache: Path) -> None:
    path.rename(cache / "elsewhere")
    path.symlink_to(cache / "elsewhere")


def as_hard_link(path: Path, cache: Path) -> None:
    os.link(path, cache / "elsewhere")


def as_writable(path: Path, cache: Path) -> None:
    path.chmod(0o666)


def in_exposed_folder(path: Path, cache: Path) -> None:
    path.parent.chmod(0o777)


def in_other_owners_folder(path: Path, cache: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root to give a folder away")
    os.chown(path.parent, 65534, 65534)


def in_linked_folder(path: Path, cache: Path) -> None:
    path.parent.rename(cache / "elsewhere")
    path.parent.symlink_to(cache / "elsewhere")


@pytest.mark.parametrize(
    "plant",
    [as_other_owner, as_link, as_hard_link, as_writable, in_exposed_folder, in_other_owners_folder, in_linked_folder],
)
def test_a_library_that_another_can_have_written_is_not_run(tmp_path, planted, plant):
    """Even under its right name, which anybody can work out."""
    content, told = planted
    cache = tmp_path / "cache"
    load(cache)
    path = kept(cache)
    path.unlink()
    named = path.with_name(native_build._name(path.name.rpartition("-")[0] + "-", content))
    named.write_bytes(content)
    named.chmod(0o600)
    plant(named, cache)
    load(cache)
    assert not told.exists()
    native_build._open(native_engine.KERNELS, content)
    assert told.exists()


def test_a_folder_that_is_exchanged_after_the_look_is_not_read(tmp_path, planted, monkeypatch):
    content, told = planted
    cache = tmp_path / "cache"
    load(cache)
    folder = native_build.kept_in(cache)
    name = kept(cache).name
    open_library = native_build._open

    def exchange(kernels: native_build.Kernels, data: bytes):
        folder.rename(tmp_path / "old")
        folder.mkdir()
        (folder / name).write_bytes(content)
        return open_library(kernels, data)

    monkeypatch.setattr(native_build, "_open", exchange)
    load(cache)
    assert not told.exists()


def test_without_files_in_memory_a_private_copy_is_loaded(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    load(tmp_path)
    load(tmp_path)


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        ("no-such-compiler", "no C compiler"),
        ('"', "CC is no command line"),
        ("false", "do not compile"),
        ("true", "do not compile"),
        ("cc --no-such-option", "do not compile"),
    ],
)
def test_without_a_compiler_that_works(tmp_path, monkeypatch, compiler, reason):
    monkeypatch.setenv("CC", compiler)
    with pytest.raises(MissingDependencyError, match=reason):
        load(tmp_path)
    assert not list(tmp_path.glob("**/*.so"))


def test_a_compiler_that_writes_something_else_is_not_kept(tmp_path, monkeypatch):
    script = tmp_path / "cc"
    script.write_text('#!/bin/sh\nfor last; do :; done\nwhile [ "$1" != -o ]; do shift; done\necho no library > "$2"\n')
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    with pytest.raises(MissingDependencyError, match="do not load"):
        load(tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("**/*.so"))


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    load(tmp_path / "file")


def test_a_library_that_miscounts_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(CEngine, "count", lambda self, codes, queries, *rest: np.zeros(len(queries)))
    with pytest.raises(MissingDependencyError, match="miscount"):
        native_build.load(native_engine.KERNELS, tmp_path, native_engine._check)
    assert not list(tmp_path.glob("**/*.so"))


def search(cache: Path, engine: str, **environment: str) -> str:
    """What a fresh process finds, with a cache of its own."""
    done = subprocess.run(
        [sys.executable, "-c", SEARCH, engine],
        capture_output=True,
        text=True,
        env={**os.environ, "AECODEC_CACHE": str(cache), **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_impossible_compiler_costs_speed_and_no_search(tmp_path):
    code = SEARCH.replace("engine_name=sys.argv[1]", "")
    done = subprocess.run(
        [sys.executable, "-c", code, ""],
        capture_output=True,
        text=True,
        env={**os.environ, "AECODEC_CACHE": str(tmp_path), "CC": '"'},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(" [[0]] [0, 32]\n")


@needs("numba")
def test_what_numba_keeps_is_this_users_alone_and_made_anew_when_damaged(tmp_path):
    expected = search(tmp_path, "numba")
    folder = next(tmp_path.glob("numba-*"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = [path for path in folder.glob("*/*") if path.suffix in (".nbi", ".nbc")]
    assert files
    for number, path in enumerate(files):
        path.write_bytes(b"" if number % 2 else bytes(path.stat().st_size))
    assert search(tmp_path, "numba") == expected


def test_less_able_processors_get_the_same_results(tmp_path):
    """The generic C, as a compiler makes it for any processor of this kind."""
    program = (
        "import sys, ctypes, numpy as np\n"
        "from aecodec import native_build as b\nfrom aecodec.index import native as n\n"
        "commands, compile_ = [], b._compile\n"
        "b._compile = lambda kernels, command: (commands.append(command), compile_(kernels, command))[1]\n"
        "b.processor_flags = lambda: None\n"
        "codes = np.random.default_rng(0).integers(0, 256, (3000, int(sys.argv[1])), np.uint8)\n"
        "from aecodec.index.oracle import NumpyScanner as O\n"
        "s = n.NativeScanner(codes, engine_name='c')\n"
        "assert all('-march=native' not in command for command in commands)\n"
        "for q in (1, 40):\n"
        "    for x, y in zip(s.search(codes[:q] ^ 3, 20), O(codes).search(codes[:q] ^ 3, 20)):\n"
        "        assert (x == y).all()\n"
    )
    for width in ("4", "8", "11", "32"):
        done = subprocess.run(
            [sys.executable, "-c", program, width],
            capture_output=True,
            text=True,
            env={**os.environ, "AECODEC_CACHE": str(tmp_path)},
        )
        assert done.returncode == 0, done.stderr
