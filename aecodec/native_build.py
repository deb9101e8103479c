"""C kernels made into a library: compiled once for this very processor, kept, and loaded from what was checked."""

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
from dataclasses import dataclass
from pathlib import Path

from .contracts import MissingDependencyError
from .data.private import PrivateFolder

_FLAGS = ("-O3", "-std=gnu11", "-shared", "-fPIC", "-w")
_TIMEOUT = 120
#: Of the folder in the cache, followed by the user's number: several users may share a cache, but no library.
_FOLDER = "native"
Check = Callable[[ctypes.CDLL], None]


@dataclass(frozen=True)
class Kernels:
    """What a library is made of. name: in lower case, of its files; words: what messages call it; sources: the file
    that is compiled, then those that it includes; flags: of the compiler, beside those of all libraries."""

    name: str
    words: str
    sources: tuple[Path, ...]
    flags: tuple[str, ...] = ()


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


def load(kernels: Kernels, cache: Path, check: Check) -> ctypes.CDLL:
    """The library for this processor: from the cache, or compiled, and then kept there.

    It is run, so it is taken only from a folder of mode 0700 and a file that belong to this user, with the content that
    its name tells the hash of, and loaded from the bytes that were looked at. Anything else is as good as nothing
    there. Where no such folder can be had, it is compiled for this process alone. check: raises MissingDependencyError
    for a library that is not to be used. Raises MissingDependencyError (no compiler, it failed, the check did).
    """
    command = _command(kernels)
    prefix = f"{kernels.name}-{_key(kernels, command)}-"
    with contextlib.ExitStack() as stack:
        folder = None
        with contextlib.suppress(OSError):
            folder = stack.enter_context(PrivateFolder(kept_in(cache)))
            found = _kept(kernels, folder, prefix, check)
            if found is not None:
                return found
        content = _compile(kernels, command)
        loaded = _open(kernels, content)
        check(loaded)
        if folder is not None:
            with contextlib.suppress(OSError):
                folder.write(_name(prefix, content), content)
        return loaded


def kept_in(cache: Path) -> Path:
    """The folder of a cache in which this user's libraries are kept."""
    return cache / f"{_FOLDER}-{os.geteuid() if hasattr(os, 'geteuid') else 0}"


def _kept(kernels: Kernels, folder: PrivateFolder, prefix: str, check: Check) -> ctypes.CDLL | None:
    """The library that is kept, if it is sound; what is not is removed. Raises OSError."""
    for name in folder.names():
        if folder.exposed:
            folder.remove(name)
        elif name.startswith(prefix):
            with contextlib.suppress(OSError, MissingDependencyError):
                content = folder.read(name)
                if content is not None and name == _name(prefix, content):
                    loaded = _open(kernels, content)
                    check(loaded)
                    return loaded
            folder.remove(name)
    return None


def _name(prefix: str, content: bytes) -> str:
    return f"{prefix}{hashlib.sha256(content).hexdigest()}.so"


def _command(kernels: Kernels) -> list[str]:
    """The compiler's command line but for its files. Raises MissingDependencyError."""
    found = compiler()
    if found is None:
        raise MissingDependencyError(f"no C compiler (cc, gcc or clang) to build {kernels.words} with")
    native = ["-march=native"] if processor_flags() and platform.machine() in ("x86_64", "AMD64") else []
    return [*found, *_FLAGS, *kernels.flags, *native]


def _key(kernels: Kernels, command: list[str]) -> str:
    """A hash of the sources, the command and the processor's flags: a folder that several machines share never hands
    one of them another's instructions."""
    stamp = hashlib.sha256()
    for text in (
        *(path.read_bytes() for path in kernels.sources),
        repr(command).encode(errors="surrogateescape"),
        f"{processor_flags()} {platform.machine()}".encode(),
    ):
        stamp.update(len(text).to_bytes(8, "little") + text)
    return stamp.hexdigest()[:24]


def _compile(kernels: Kernels, command: list[str]) -> bytes:
    """The library's content. Raises MissingDependencyError."""
    try:
        with tempfile.TemporaryDirectory(prefix="aecodec-") as workplace:
            built = Path(workplace, f"{kernels.name}.so")
            done = subprocess.run(
                [*command, "-o", str(built), str(kernels.sources[0])],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT,
                check=False,
            )
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]
                raise MissingDependencyError(f"{kernels.words} do not compile ({reason})")
            return built.read_bytes()
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingDependencyError(f"{kernels.words} do not compile ({error})") from error


def _open(kernels: Kernels, content: bytes) -> ctypes.CDLL:
    """A library of these very bytes. A name in a folder could be another file by the time that it is loaded.

    Raises MissingDependencyError.
    """
    with contextlib.suppress(OSError, AttributeError):
        descriptor = os.memfd_create(kernels.name)
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
            library = Path(place, f"{kernels.name}.so")
            library.write_bytes(content)
            return ctypes.CDLL(str(library))
    except OSError as error:
        raise MissingDependencyError(f"{kernels.words} do not load ({error})") from error
