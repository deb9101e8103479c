"""Whatever was used before a fork can be used after it, in a child that has none of the parent's threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from extras import needs

from aecodec.parallel import Lock, Pool

#: Uses each thing with two threads, and again in a child that ends as a program does. A child that waits is killed.
PROGRAM = """
import os, signal, sys
import numpy as np
from aecodec.engine.opening import limit_threads
limit_threads(2)
import aecodec
from PIL import Image
from aecodec.index import INDEXES

rng = np.random.default_rng(0)
picture = rng.integers(0, 256, (128, 160, 3), np.uint8)
codes = rng.integers(0, 256, (600_000, 8), np.uint8)

def codec(engine):
    codec = aecodec.Codec.from_pretrained("photo", engine=engine)
    data = codec.encode(Image.fromarray(picture))
    return lambda: np.asarray(codec.decode(data)).astype(int)

def hasher(engine):
    hasher = aecodec.Hasher.from_pretrained(engine=engine)
    return lambda: hasher.hash_pixels([picture]).astype(int)

def scanner(name):
    scanner = INDEXES[name].load()(codes, threads=2)
    return lambda: scanner.search(codes[:40], 3)[0]

MAKE = {"codec": codec, "hasher": hasher, "scanner": scanner}
for word in sys.argv[1:]:
    kind, name = word.split(":")
    use = MAKE[kind](name)
    expected = use()
    child = os.fork()
    if not child:
        signal.alarm(100)
        # torch adds up in another order with another number of threads: a pixel may be a level off
        sys.exit(0 if np.abs(use() - expected).max() <= (name == "torch") else "another answer")
    status = os.waitpid(child, 0)[1]
    print(word, status)
"""


@pytest.mark.parametrize(
    "used",
    [
        ["codec:onnx", "hasher:onnx", "scanner:native", "scanner:multi-index"],
        pytest.param(["codec:torch", "hasher:torch"], marks=needs("torch")),
        pytest.param(["scanner:faiss"], marks=needs("faiss")),
    ],
    ids=lambda used: "-".join(used).replace(":", "-"),
)
def test_a_forked_child_goes_on_with_what_the_parent_used(used):
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", PROGRAM, *used], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [word for name in used for word in (name, "0")], done.stderr


def in_child(call) -> int:
    """Exit status of a forked child that makes a call and ends at once."""
    child = os.fork()
    if not child:
        try:
            call()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def test_a_lock_is_open_in_a_child_and_still_held_in_the_parent():
    lock = Lock()

    def take() -> None:
        with lock:
            pass

    with lock:
        assert in_child(take) == 0
        assert lock._lock.locked()


def test_a_pool_starts_again_in_a_child():
    pool = Pool(2, "test")
    assert list(pool.executor().map(abs, [-1, 2])) == [1, 2]
    assert in_child(lambda: list(pool.executor().map(abs, [-1, 2]))) == 0
    assert list(pool.executor().map(abs, [-3])) == [3]


def test_coding_tells_nobody_and_leaves_nothing(tmp_path: Path):
    """Packages that report how they are used are told not to."""
    code = (
        "from PIL import Image; import aecodec\n"
        "aecodec.Codec.from_pretrained('photo').encode(Image.new('RGB', (64, 64)))"
    )
    hidden = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "CI")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment.update(HOME=str(tmp_path), AECODEC_CACHE=str(tmp_path / "cache"))
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == []
