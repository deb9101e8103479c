"""The C kernels made into a library: compiled once for this very processor, kept, and loaded from what was checked."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..contracts import MissingDependencyError
from ..data.private import PrivateFolder

_HERE = Path(__file__).parent
SOURCES = tuple(
    _HERE / name for name in ("hamming.c", "hamming.h", "hamming_popcount.h", "hamming_sliced.h", "hamming_tables.h")
)
_FLAGS = ("-O3", "-std=gnu11", "-shared", "-fPIC", "-w")
_TIMEOUT = 120
#: Of the folder in the cache, followed by the user's number: several users may share a cache, but no library.
_FOLDER = "native"
Check = Callable[[ctypes.CDLL], None]


def processor_flags() -> str | None:
    """What the processor can do, as Linux tells it; None where it does not."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return " ".join(sorted(line.split(":", 1)[1].split()))
    except OSError:
        pass  # another system: the compiler's default instructions are all that is sure to run
    return None


def compiler() -> list[str] | None:
    """The C compiler and its own flags: CC, else cc, gcc or clang; None if there is none.

    Raises MissingDependencyError if CC is no command line.
    """
    try:
        given = shlex.split(os.environ.get("CC", ""))
    except ValueError as error:
        raise MissingDependencyError(f"no C compiler: CC is no command line ({error})") from error
    for words in [given] if given else [["cc"], ["gcc"], ["clang"]]:
        found = shutil.which(words[0])
        if found:
            return [found, *words[1:]]
    return None


def load(cache: Path, check: Check) -> ctypes.CDLL:
    """The library for this processor: from the cache, or compiled, and then kept there.

    It is run, so it is taken only from a folder of mode 0700 and a file that belong to this user, with the content that
    its name tells the hash of, and loaded from the bytes that were looked at. Anything else is as good as nothing
    there. Where no such folder can be had, it is compiled for this process alone. check: raises MissingDependencyError
    for a library that is not to be used. Raises MissingDependencyError (no compiler, it failed, the check did).
    """
    command = _command()
    prefix = f"hamming-{_key(command)}-"
    with contextlib.ExitStack() as stack:
        folder = None
        with contextlib.suppress(OSError):
            folder = stack.enter_context(PrivateFolder(kept_in(cache)))
            found = _kept(folder, prefix, check)
            if found is not None:
                return found
        content = _compile(command)
        loaded = _open(content)
        check(loaded)
        if folder is not None:
            with contextlib.suppress(OSError):
                folder.write(_name(prefix, content), content)
        return loaded


def kept_in(cache: Path) -> Path:
    """The folder of a cache in which this user's libraries are kept."""
    return cache / f"{_FOLDER}-{os.geteuid() if hasattr(os, 'geteuid') else 0}"


def _kept(folder: PrivateFolder, prefix: str, check: Check) -> ctypes.CDLL | None:
    """The library that is kept, if it is sound; what is not is removed. Raises OSError."""
    for name in folder.names():
        if folder.exposed:
            folder.remove(name)
        elif name.startswith(prefix):
            with contextlib.suppress(OSError, MissingDependencyError):
                content = folder.read(name)
                if content is not None and name == _name(prefix, content):
                    loaded = _open(content)
                    check(loaded)
                    return loaded
            folder.remove(name)
    return None


def _name(prefix: str, content: bytes) -> str:
    return f"{prefix}{hashlib.sha256(content).hexdigest()}.so"


def _command() -> list[str]:
    """The compiler's command line but for its files. Raises MissingDependencyError."""
    found = compiler()
    if found is None:
        raise MissingDependencyError("no C compiler (cc, gcc or clang) to build the Hamming kernels with")
    native = ["-march=native"] if processor_flags() and platform.machine() in ("x86_64", "AMD64") else []
    return [*found, *_FLAGS, *native]


def _key(command: list[str]) -> str:
    """A hash of the sources, the command and the processor's flags: a folder that several machines share never hands
    one of them another's instructions."""
    stamp = hashlib.sha256()
    for text in (
        *(path.read_bytes() for path in SOURCES),
        repr(command).encode(errors="surrogateescape"),
        f"{processor_flags()} {platform.machine()}".encode(),
    ):
        stamp.update(len(text).to_bytes(8, "little") + text)
    return stamp.hexdigest()[:24]


def _compile(command: list[str]) -> bytes:
    """The library's content. Raises MissingDependencyError."""
    try:
        with tempfile.TemporaryDirectory(prefix="aecodec-") as workplace:
            built = Path(workplace, "hamming.so")
            done = subprocess.run(
                [*command, "-o", str(built), str(SOURCES[0])],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT,
                check=False,
            )
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]
                raise MissingDependencyError(f"the Hamming kernels do not compile ({reason})")
            return built.read_bytes()
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingDependencyError(f"the Hamming kernels do not compile ({error})") from error


def _open(content: bytes) -> ctypes.CDLL:
    """A library of these very bytes. A name in a folder could be another file by the time that it is loaded.

    Raises MissingDependencyError.
    """
    with contextlib.suppress(OSError, AttributeError):
        descriptor = os.memfd_create("hamming")
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(content)
            # Stays open: the loader knows libraries by their names, and no other one may get this name.
            return ctypes.CDLL(f"/proc/self/fd/{descriptor}")
        except OSError:
            os.close(descriptor)
            raise
    try:  # no files in memory here, or none that may be run
        with tempfile.TemporaryDirectory(prefix="aecodec-") as place:  # of mode 0700
            library = Path(place, "hamming.so")
            library.write_bytes(content)
            return ctypes.CDLL(str(library))
    except OSError as error:
        raise MissingDependencyError(f"the Hamming kernels do not load ({error})") from error
