"""Two workers of a cluster do what one process does: the same bytes, lines and exit codes, whoever dies on the way."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import natural_picture, written_picture
from extras import needs
from PIL import Image
from small_hasher import CONFIG, save_hasher

import aecodec
from aecodec.cli import run as command
from aecodec.contracts import CheckpointError, ClusterError, UsageError

pytestmark = needs("ray", "pyarrow")

COUNT = 24
#: Lines on stderr of the planted files.
BROKEN = ("cut.jpg", "empty.png", "text.png")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One cluster of two CPUs for all laws here: it takes many seconds to start."""
    from aecodec.ray.cluster import connected

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")  # the usual 15 would wait for everything else on a busy machine
        with connected("local", 2):
            yield


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_file: Path) -> Path:
    """A working folder with pictures in photos/ and below, three files among them that are none, and two models."""
    monkeypatch.chdir(tmp_path)
    Path("photos/deep").mkdir(parents=True)
    for number in range(COUNT):
        folder = "photos/deep" if number % 3 == 0 else "photos"
        Image.fromarray(natural_picture(40 + number, 64, number)).save(f"{folder}/p{number:02d}.png")
    Image.fromarray(natural_picture(64, 64)).save("whole.jpg")
    Path("photos/cut.jpg").write_bytes(Path("whole.jpg").read_bytes()[:400])
    Path("photos/empty.png").touch()
    Path("photos/deep/text.png").write_text("no picture")
    Path("model.safetensors").write_bytes(model_file.read_bytes())
    save_hasher(Path("hash.safetensors"), CONFIG)
    return tmp_path


def compress(out: str, *more: str, source: str = "photos") -> int:
    common = ["-m", "model.safetensors", "--hasher", "hash.safetensors", "--device", "cpu"]
    return command(["compress", "-r", source, "-o", out, *common, *more])


def build(out: str, *more: str) -> int:
    return command(["index", "build", "photos", "-o", out, "--hasher", "hash.safetensors", "--device", "cpu", *more])


def contents(folder: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def workers() -> list[int]:
    """The processes of actors that map batches."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"ray::MapWorker" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("more", [(), ("--json", "-q", "20", "--preserve-times")])
def test_files_lines_and_code_are_those_of_one_process(here, more, capfd):
    Image.fromarray(written_picture(64, 128)).save("photos/drawn.png")
    assert compress("one/", "-j", "1", *more) == 1
    alone = capfd.readouterr()
    assert compress("two/", "--ray", "local", "-j", "2", *more) == 1
    shared = capfd.readouterr()
    assert contents("two") == contents("one")
    assert len(contents("two")) == COUNT + 1
    assert shared.out == alone.out.replace("one/", "two/")
    assert shared.err == alone.err.replace("one/", "two/")
    assert all(name in shared.err for name in BROKEN)
    assert shared.err.count("photos/drawn.png: looks drawn, not photographed") == 1


def test_a_rerun_skips_what_is_done_and_starts_no_cluster(here, capfd, monkeypatch):
    for name in ("cut.jpg", "empty.png", "deep/text.png"):
        Path("photos", name).unlink()
    assert compress("out/", "--ray", "local", "-j", "2") == 0
    before = contents("out")
    gone = sorted(before)[:3]
    for name in gone:
        Path("out", name).unlink()
    capfd.readouterr()
    assert compress("out/", "--ray", "local", "-j", "2", "--skip-existing") == 0
    told = capfd.readouterr()
    assert contents("out") == before
    assert [line.split(":")[0] for line in told.out.splitlines()] == [f"out/{name}" for name in gone]
    assert told.err.count("exists, skipped") == COUNT - 3
    monkeypatch.setattr("aecodec.ray.cluster.connected", None)
    assert compress("out/", "--ray", "local", "--skip-existing") == 0
    assert compress("out/", "--ray", "local") == 1
    assert contents("out") == before


@pytest.mark.parametrize("more", [(), ("--windows", "--bits", "16")])
def test_the_index_is_that_of_one_process(here, more, capfd):
    assert build("one.hix", "-j", "1", *more) == 1
    alone = capfd.readouterr()
    assert build("two.hix", "--ray", "local", "-j", "2", *more) == 1
    shared = capfd.readouterr()
    assert Path("two.hix").read_bytes() == Path("one.hix").read_bytes()
    assert shared.err == alone.err
    assert shared.out.split(")")[0] == alone.out.split(")")[0].replace("one.hix", "two.hix")


def test_a_killed_worker_loses_nothing(here, capfd):
    assert compress("one/", "-j", "1") == 1
    killed: list[int] = []

    def kill_one() -> None:
        """As soon as an output is there: then its worker is in the middle."""
        until = time.monotonic() + 300
        while time.monotonic() < until and not killed:
            if any(Path("two").rglob("*.aec")) and (found := workers()):
                os.kill(found[0], signal.SIGKILL)
                killed.append(found[0])
            time.sleep(0.002)

    killer = threading.Thread(target=kill_one)
    killer.start()
    capfd.readouterr()
    code = compress("two/", "--ray", "local", "-j", "2")
    killer.join()
    assert killed
    assert code == 1
    # One that is killed while it writes leaves the temporary file, which is nobody's output.
    assert {name: data for name, data in contents("two").items() if not name.endswith(".tmp")} == contents("one")
    told = capfd.readouterr()
    assert len(told.out.splitlines()) == COUNT
    assert sorted(line.split("/")[-1].split(":")[0] for line in told.err.splitlines()) == sorted(BROKEN)


def run(opening: Callable, items: list, rows: int = 4, files: list[Path] | None = None) -> list:
    from aecodec.ray.agreement import Agreement
    from aecodec.ray.cluster import Workers
    from aecodec.ray.running import run as run_items

    return list(run_items(opening, items, Agreement.of(files or []), Workers(2), rows))


def test_items_give_results_in_order_and_only_what_kills_is_lost(tmp_path):
    marker = str(tmp_path / "died")

    def opening() -> Callable[[int], int]:
        def work(item: int) -> int:
            if item == 5 and not os.path.exists(marker):  # dies once
                open(marker, "x").close()
                os._exit(1)
            if item == 13:  # dies whenever it is tried
                os._exit(1)
            return item * item

        return work

    results = run(opening, list(range(40)))
    assert [item for item, result in enumerate(results) if isinstance(result, ClusterError)] == [13]
    assert "no worker survived" in str(results[13])
    assert [result for result in results if isinstance(result, int)] == [n * n for n in range(40) if n != 13]


def test_what_a_worker_cannot_open_ends_the_work_in_its_own_words(tmp_path):
    def opening() -> Callable[[int], int]:
        raise CheckpointError("lacks everything")

    with pytest.raises(CheckpointError, match=r"^lacks everything$"):
        run(opening, [1, 2, 3])
    with pytest.raises(ClusterError, match="does not see what is in it"):
        run(lambda: abs, [1, 2, 3], files=[_only_here(tmp_path)])


def _only_here(folder: Path) -> Path:
    """A file by a name that is one in this process alone."""
    path = folder / "seen"
    path.write_bytes(b"1234567")
    return Path(f"/proc/self/fd/{os.open(path, os.O_RDONLY)}")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc, by which a folder is for one process alone")
@pytest.mark.parametrize("side", ["in", "out"])
def test_a_folder_that_is_not_shared_is_one_line(here, side, capfd):
    descriptor = os.open(here, os.O_RDONLY)
    source = f"/proc/self/fd/{descriptor}/photos" if side == "in" else "photos"
    out = f"/proc/self/fd/{descriptor}/out/" if side == "out" else "out/"
    assert compress(out, "--ray", "local", "-j", "2", source=source) == 1
    told = capfd.readouterr()
    assert told.out == ""
    [line] = told.err.splitlines()
    assert line.startswith(f"aecodec: error: /proc/self/fd/{descriptor}/")
    assert "does not see what is in it; all workers need the same folder at the same path" in line
    assert not contents("out")


def test_streams_and_single_gpus_are_refused(here, capfd):
    assert command(["compress", "-", "-o", "x.aec", "--ray", "local"]) == 2
    assert command(["compress", "whole.jpg", "-o", "x.aec", "--ray", "local", "--device", "cuda:1"]) == 2
    told = capfd.readouterr().err.splitlines()
    assert "standard streams" in told[0]
    assert "the device is cuda, not cuda:1" in told[1]
    assert command(["compress", "whole.jpg", "-o", "x.aec", "--ray", "local", "--device", "cuda"]) == 1
    assert "no node of the Ray cluster has 1 CPUs and a GPU" in capfd.readouterr().err


def test_hash_gives_a_row_for_each_picture(here):
    import pyarrow as pa
    import ray.data

    from aecodec.hasher import Hasher
    from aecodec.ray import hash as hash_pictures
    from aecodec.search.pictures import CodeReader

    assert compress("one/", "-q", "20") == 1
    names = [*sorted(map(str, Path("photos").rglob("*.*"))), "one/p01.aec", "missing.png"]
    table = pa.table({"path": names, "key": list(range(len(names)))})
    model = str(here / "hash.safetensors")
    rows = hash_pictures(ray.data.from_arrow(table), hasher=model, device="cpu", num_workers=2).take_all()
    rows.sort(key=lambda row: row["key"])
    assert [row["path"] for row in rows] == names
    reader = CodeReader(Hasher.from_pretrained(model))
    for row in rows:
        name = row["path"]
        if name == "missing.png" or Path(name).name in BROKEN:
            assert row["error"].startswith(f"{name}: ")
            assert (row["code"], row["width"], row["height"]) == (None, None, None)
            continue
        source = Path("photos/p01.png") if name.endswith(".aec") else Path(name)
        assert (row["error"], row["code"]) == (None, reader.codes([Path(name)])[0])
        assert (row["width"], row["height"]) == Image.open(source).size
    folder = hash_pictures("photos", hasher=model, bits=16, device="cpu", num_workers=1)
    assert folder.count() == COUNT + len(BROKEN)
    assert {len(row["code"]) for row in folder.take_all() if row["code"] is not None} == {2}


def test_compress_makes_the_files_of_one_process_and_skips_them_after(here):
    import ray.data

    from aecodec.ray import compress as compress_pictures

    assert compress("one/", "-q", "20") == 1
    models = {"model": "model.safetensors", "hasher": "hash.safetensors", "device": "cpu", "num_workers": 2}
    rows = compress_pictures("photos", "two", quality=20, **models).take_all()
    assert contents("two") == contents("one")
    assert {Path(row["path"]).name for row in rows if row["error"]} == set(BROKEN)
    assert not any(row["skipped"] for row in rows)
    done = {row["path"]: row for row in compress_pictures("photos", "two", quality=20, **models).take_all()}
    for row in rows:
        again = done[row["path"]]
        assert again == {**row, "skipped": row["error"] is None}
        if row["error"] is None:
            assert row["bytes"] == os.stat(row["output"]).st_size
            assert row["input_bytes"] == os.stat(row["path"]).st_size
            assert (row["width"], row["height"]) == Image.open(row["path"]).size
    Path("three/deep").mkdir(parents=True)
    paths = ray.data.from_items([{"path": path} for path in ("photos/deep/p00.png", "whole.jpg")])
    inside, outside = sorted(
        compress_pictures(paths, "three", quality=20, root="photos", **models).take_all(), key=lambda row: row["path"]
    )
    assert contents("three") == {"deep/p00.png.aec": Path("one/deep/p00.aec").read_bytes()}
    assert inside["output"] == str(here / "three/deep/p00.png.aec")
    assert "lies outside" in outside["error"]


def test_what_cannot_be_asked_for_is_told_at_once(here):
    import ray.data

    from aecodec.ray import compress as compress_pictures
    from aecodec.ray import hash as hash_pictures

    with pytest.raises(UsageError, match="no such folder"):
        hash_pictures("nowhere")
    with pytest.raises(UsageError, match="not of 24"):
        hash_pictures("photos", bits=24)
    with pytest.raises(UsageError, match="needs the root"):
        compress_pictures(ray.data.from_items([{"path": "whole.jpg"}]), "out")
    Image.fromarray(natural_picture(20, 20)).save("photos/p01.jpg")
    with pytest.raises(UsageError, match="would both become"):
        compress_pictures("photos", "out")
    with pytest.raises(aecodec.AecodecError, match="effort"):
        compress_pictures("photos", "out", effort=99)
    assert not Path("out").exists()
