"""Little memory is a named error in one line, whatever the libraries make of it; a file is not blamed for it."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest
from conftest import natural_picture
from PIL import Image

from aecodec import cli
from aecodec.cli import run
from aecodec.contracts import CheckpointError, OutOfMemoryError, UnexpectedError
from aecodec.engine import networks
from aecodec.zoo import registry, stored


def caused(fault: Exception, cause: Exception) -> Exception:
    fault.__cause__ = cause
    return fault


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("libgomp.so: failed to map segment from shared object"),
        caused(ImportError("Error importing numpy"), ImportError("x.so: cannot allocate memory in static TLS block")),
        RuntimeError("can't start new thread"),
        RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc"),
        caused(CheckpointError("model: damaged"), Exception("Cannot allocate memory (os error 12)")),
    ],
    ids=str,
)
def test_every_librarys_words_for_it_are_understood(fault):
    error = OutOfMemoryError.below(fault)
    assert str(error).startswith("not enough memory (")
    assert error.exit_code == 1
    if not isinstance(fault, CheckpointError):
        assert isinstance(UnexpectedError.of(fault), OutOfMemoryError)


@pytest.mark.parametrize(
    "fault",
    [
        FileNotFoundError(errno.ENOENT, "No such file", "out of memory.png"),
        CheckpointError("out of memory: no such checkpoint"),
        ValueError("7 is out of range"),
    ],
    ids=str,
)
def test_names_of_files_are_no_lack_of_memory(fault):
    assert OutOfMemoryError.below(fault) is None


@pytest.mark.parametrize("name", ["safe_open", "read_header"])
def test_a_model_is_not_damaged_where_memory_ends(tmp_path, monkeypatch, name):
    def exhausted(*_, **__):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    path = registry.find_model("photo")
    if name == "safe_open":
        monkeypatch.setattr(stored, name, exhausted)
    else:
        monkeypatch.setattr(registry, "open", exhausted, raising=False)
    with pytest.raises(OutOfMemoryError, match="not enough memory"):
        stored.read(path)


def test_onnxruntime_is_not_missing_where_memory_ends(monkeypatch):
    class Exhausted:
        def find_spec(self, name, *_):
            if name == "onnxruntime":
                raise ImportError("onnxruntime.so: failed to map segment from shared object")

    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Exhausted(), *sys.meta_path])
    with pytest.raises(OutOfMemoryError, match="failed to map segment"):
        networks.runtime()


def test_a_panic_of_a_library_is_one_line(monkeypatch, capsys):
    class PanicException(BaseException):
        """As those of Rust: no Exception."""

    def panic(*_, **__):
        raise PanicException("PyObject pointer is null")

    monkeypatch.setattr(cli.root, "main", panic)
    assert run(["info", "x.aec"]) == 1
    assert capsys.readouterr().err == "aecodec: error: unexpected PanicException (PyObject pointer is null)\n"


LIMITED = """
import resource, sys
from aecodec.cli import main
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) << 20, resource.RLIM_INFINITY))
main(sys.argv[2:])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits the address space so")
def test_a_small_address_space_is_no_traceback(tmp_path):
    Image.fromarray(natural_picture(64, 64)).save(tmp_path / "a.png")
    arguments = ["compress", str(tmp_path / "a.png"), "-o", str(tmp_path / "a.aec")]
    done = subprocess.run([sys.executable, "-c", LIMITED, "100", *arguments], capture_output=True, text=True)
    assert done.returncode > 0
    assert done.stderr.splitlines()[-1].startswith("aecodec: error: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "a.aec").exists()
