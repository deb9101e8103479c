"""Laws of building, syncing, searching and grouping: what an index holds is what hashing every file would give."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from block_hasher import BlockHasher
from conftest import natural_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from places import TESTS

from aecodec.codec.codec import Codec
from aecodec.coding.container import SemanticHash
from aecodec.contracts import ImageReadError, OutputExistsError, UsageError
from aecodec.data.images import Picture
from aecodec.index.codes import hamming_distances
from aecodec.index.hash_index import HashIndex
from aecodec.search import building, updating
from aecodec.search.pictures import CodeReader, Failure, id_of, list_pictures, path_of
from aecodec.search.queries import answer, copy_hits


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six pictures in two folders, one of them broken, and files that are no pictures."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for number in range(5):
        ending = ("jpg", "png")[number % 2]
        Image.fromarray(natural_picture(64, 96, number)).save(
            folder / ("sub" if number > 2 else "") / f"p{number}.{ending}"
        )
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("text")
    (folder / ".hidden.jpg").write_bytes(b"no picture")
    return folder


def reader(**options) -> CodeReader:
    return CodeReader(BlockHasher(), **options)


def expected_codes(folder: Path) -> dict[str, bytes]:
    """Every readable picture, hashed one by one."""
    found, _ = list_pictures(folder, str(folder))
    pairs = {picture.id: reader().codes([picture.path])[0] for picture in found}
    return {name: code for name, code in pairs.items() if isinstance(code, bytes)}


def held(index: HashIndex) -> dict[str, bytes]:
    return {name: code.tobytes() for name, code in zip(index.ids.tolist(), index.codes, strict=True)}


def counts(report: updating.Report) -> tuple[int, ...]:
    return report.added, report.changed, report.removed, report.kept, len(report.failures)


def touch(path: Path, seed: int) -> None:
    """Another picture and another time."""
    Image.fromarray(natural_picture(64, 96, seed)).save(path)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_built_index_holds_every_picture(photos, tmp_path, jobs):
    index, report = building.build(photos, tmp_path / "a.hix", reader(), jobs=jobs)
    assert counts(report) == (5, 0, 0, 0, 1)
    assert "broken.jpg: not a picture" in report.failures[0].message
    assert held(index) == expected_codes(photos)
    assert set(held(index)) == {"p0.jpg", "p1.png", "p2.jpg", "sub/p3.png", "sub/p4.jpg"}
    assert held(HashIndex.load(tmp_path / "a.hix")) == held(index)
    assert sorted(os.listdir(tmp_path)) == ["a.hix", "photos"]
    with pytest.raises(OutputExistsError):
        building.build(photos, tmp_path / "a.hix", reader())
    for row, name in enumerate(index.ids.tolist()):
        status = path_of(name, index.root).stat()
        assert index.stamps[row].tolist() == [status.st_mtime_ns, status.st_size]


def test_sync_hashes_only_what_changed_and_drops_what_vanished(photos, tmp_path):
    index, _ = building.build(photos, tmp_path / "a.hix", reader())
    again = reader()
    assert counts(building.sync(index, again)) == (0, 0, 0, 5, 1)
    assert again.hasher.hashed == 0
    touch(photos / "p1.png", 40)
    touch(photos / "sub" / "new.png", 41)
    (photos / "p0.jpg").unlink()
    (photos / "sub" / "p3.png").write_bytes(b"damaged by now")
    assert counts(building.sync(index, again)) == (1, 1, 1, 2, 2)
    assert again.hasher.hashed == 2
    assert held(index) == expected_codes(photos)
    assert set(held(index)) == {"p1.png", "p2.jpg", "sub/new.png", "sub/p4.jpg"}


@settings(max_examples=15)
@given(data=st.data())
def test_any_order_of_syncs_ends_where_one_build_does(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    names, clock = [f"{n}.png" for n in range(4)], 1
    index = building.new_index(reader(), str(folder))
    for _ in range(data.draw(st.integers(1, 4))):
        for name in data.draw(st.sets(st.sampled_from(names))):
            clock += 1
            if data.draw(st.booleans()):
                (folder / name).unlink(missing_ok=True)
                continue
            Image.fromarray(natural_picture(16, 16, data.draw(st.integers(0, 30)))).save(folder / name)
            os.utime(folder / name, ns=(0, clock * 10**9))
        building.sync(index, reader(), allow_empty=True)
        assert held(index) == expected_codes(folder)


def test_pictures_outside_the_folder_are_kept_by_their_absolute_paths(photos, tmp_path):
    index, _ = building.build(photos, tmp_path / "a.hix", reader())
    outside = tmp_path / "outside.png"
    shutil.copy(photos / "p1.png", outside)
    report = building.add(index, [outside, photos, tmp_path / "none.png"], reader())
    assert counts(report) == (1, 0, 0, 5, 2)
    assert str(outside) in index.ids.tolist()
    assert building.sync(index, reader()).removed == 0
    outside.unlink()
    assert building.sync(index, reader()).removed == 1
    assert str(outside) not in index.ids.tolist()


def test_removing_takes_files_and_folders_and_names_what_is_not_there(photos, tmp_path):
    index, _ = building.build(photos, tmp_path / "a.hix", reader())
    with pytest.raises(UsageError, match=r"p9.png: is not in the index"):
        building.remove(index, ["p0.jpg", "p9.png"])
    assert len(index) == 5
    assert building.remove(index, [str(photos / "sub"), "p0.jpg"]).removed == 3
    assert set(held(index)) == {"p1.png", "p2.jpg"}


def test_a_missing_folder_drops_nothing(photos, tmp_path):
    index, _ = building.build(photos, tmp_path / "a.hix", reader())
    photos.rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="no such folder"):
        building.sync(index, reader())
    assert len(index) == 5


def test_an_interrupted_build_goes_on(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(updating, "GROUP", 1)
    out = tmp_path / "a.hix"

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        building.build(photos, out, reader(), advance=stop)
    assert not out.exists()
    assert len(HashIndex.load(building.partial_of(out))) == 2  # of three files the first is broken
    again = reader()
    index, report = building.build(photos, out, again)
    assert counts(report) == (3, 0, 0, 2, 1)
    assert again.hasher.hashed == 3
    assert held(index) == expected_codes(photos)
    assert not building.partial_of(out).exists()


def test_a_partial_index_of_another_hasher_folder_or_length_is_not_used(photos, tmp_path, monkeypatch):
    out = tmp_path / "a.hix"
    for change in ({"root": "/elsewhere"}, {"hasher": "other"}, {"n_bits": 32}):
        fields = {"hasher": "blocks", "fingerprint": b"\x01" * 8, "n_bits": 64, "paths": True, "root": str(photos)}
        left = HashIndex(**{**fields, **change})
        stamp = (photos / "p0.jpg").stat()
        codes = np.zeros((1, left.n_bits // 8), np.uint8)
        left.add(["p0.jpg"], codes, stamps=np.array([[stamp.st_mtime_ns, stamp.st_size]]))
        left.save(building.partial_of(out), overwrite=True)
        index, report = building.build(photos, out, reader(), overwrite=True)
        assert report.added == 5
        assert held(index) == expected_codes(photos)
    building.partial_of(out).write_bytes(b"HIX\0 rubbish")
    assert building.build(photos, out, reader(), overwrite=True)[1].added == 5


def test_a_killed_build_leaves_a_sound_partial_index_and_goes_on(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "a.hix"
    photos.mkdir()
    for number in range(12):
        Image.fromarray(natural_picture(16, 16, number)).save(photos / f"{number:02d}.png")
    code = (
        "import sys, time, pathlib; sys.path.insert(0, sys.argv[3])\n"
        "from aecodec.search import building, updating; from aecodec.search.pictures import CodeReader\n"
        "from block_hasher import BlockHasher; updating.GROUP = 1\n"
        "def slow(done, total): print(done, flush=True); time.sleep(0.05)\n"
        "photos, out = map(pathlib.Path, sys.argv[1:3])\n"
        "building.build(photos, out, CodeReader(BlockHasher()), every=0, advance=slow)"
    )
    arguments = [sys.executable, "-c", code, str(photos), str(out), str(TESTS)]
    builder = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    while int(builder.stdout.readline()) < 5:
        pass
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    assert not out.exists()
    kept = len(HashIndex.load(building.partial_of(out)))
    assert 4 <= kept < 12
    again = reader()
    index, report = building.build(photos, out, again)
    assert (report.kept, report.added, again.hasher.hashed) == (kept, 12 - kept, 12 - kept)
    assert held(index) == expected_codes(photos)


def test_unfinished_work_is_saved_every_so_often(photos, monkeypatch):
    monkeypatch.setattr(updating, "GROUP", 1)
    index, sizes = building.new_index(reader(), str(photos)), []
    found, _ = list_pictures(photos, str(photos))
    updating.update(index, found, reader(), every=0, save=lambda: sizes.append(len(index)))
    assert sizes == [0, 1, 2, 3, 4, 5]
    sizes.clear()
    touch(photos / "p2.jpg", 50)
    updating.update(index, found, reader(), every=1000, save=lambda: sizes.append(len(index)))
    assert sizes == []


# -- hashes in .aec files ----------------------------------------------------------------------------


def write_aec(path: Path, codec: Codec, pixels: np.ndarray, carried: SemanticHash | None) -> None:
    path.write_bytes(codec.encode_picture(Picture(pixels), semantic_hash=carried).data)


def test_a_mixed_folder_decodes_only_what_carries_no_fitting_hash(photos, tmp_path, small_codec):
    pixels, code = natural_picture(64, 96, 1), bytes(range(8))
    fitting = SemanticHash("blocks", b"\x01" * 8, code)
    cases = {
        "fits": fitting,
        "unknown": SemanticHash("blocks", b"\x01" * 8, code + b"more"),
        "shorter": SemanticHash("blocks", b"\x01" * 8, code[:4]),
        "named": SemanticHash("other", b"\x01" * 8, code),
        "printed": SemanticHash("blocks", b"\x02" * 8, code),
        "none": None,
    }
    for name, carried in cases.items():
        write_aec(photos / f"{name}.aec", small_codec, pixels, carried)
    decoded = []

    def decode(data: bytes) -> np.ndarray:
        decoded.append(data)
        return small_codec.decode_picture(data).pixels

    index, report = building.build(photos, tmp_path / "a.hix", reader(decode=decode))
    assert len(report.failures) == 1
    assert len(decoded) == 5
    found = held(index)
    assert found["fits.aec"] == code
    for name in ("unknown", "shorter", "named", "printed", "none"):
        assert found[f"{name}.aec"] != code
        assert (
            hamming_distances(*(np.frombuffer(found[n], np.uint8)[None] for n in (f"{name}.aec", "p1.png")))[0, 0] < 12
        )
    assert len(building.build(photos, tmp_path / "b.hix", reader())[1].failures) == 6  # nothing to decode with


def test_a_hash_that_is_longer_is_cut_only_to_a_length_that_was_trained_for(tmp_path, small_codec):
    carried = SemanticHash("blocks", b"\x01" * 8, bytes(range(12)))
    write_aec(tmp_path / "a.aec", small_codec, natural_picture(64, 96, 1), carried)
    hasher = BlockHasher()

    def code(n_bits: int) -> bytes:
        whole = CodeReader(hasher, n_bits, lambda data: small_codec.decode_picture(data).pixels)
        return whole.codes([tmp_path / "a.aec"])[0]

    hasher.lengths = (32, 64, 96)
    assert code(64) == bytes(range(8))
    assert code(32) == bytes(range(4))
    hasher.lengths = (32, 64)
    assert code(64) != bytes(range(8))
    assert hasher.hashed == 1
    for n_bits in (16, 96, 128):
        with pytest.raises(UsageError, match=f"32, 64 bits, not of {n_bits}"):
            CodeReader(hasher, n_bits)


def test_the_length_of_an_index_follows_what_aec_files_carry(photos, small_codec):
    def fitted() -> int:
        return building.fitted(reader(), photos).n_bits

    assert fitted() == 64
    pixels = natural_picture(64, 96, 1)
    write_aec(photos / "none.aec", small_codec, pixels, None)
    write_aec(photos / "other.aec", small_codec, pixels, SemanticHash("other", b"\x01" * 8, bytes(4)))
    write_aec(photos / "odd.aec", small_codec, pixels, SemanticHash("blocks", b"\x01" * 8, bytes(5)))
    (photos / "damaged.aec").write_bytes(b"AEC\0")
    assert fitted() == 64
    write_aec(photos / "long.aec", small_codec, pixels, SemanticHash("blocks", b"\x01" * 8, bytes(8)))
    assert fitted() == 64
    write_aec(photos / "short.aec", small_codec, pixels, SemanticHash("blocks", b"\x01" * 8, bytes(4)))
    assert fitted() == 32


def test_damaged_aec_files_are_failures_that_name_the_file(tmp_path, small_codec):
    write_aec(tmp_path / "a.aec", small_codec, natural_picture(64, 96), None)
    data = (tmp_path / "a.aec").read_bytes()
    for number, damaged in enumerate((data[:30], b"rubbish", data[:-5])):
        path = tmp_path / f"{number}.aec"
        path.write_bytes(damaged)
        error = reader(decode=lambda data: small_codec.decode_picture(data).pixels).codes([path])[0]
        assert str(error).startswith(str(path))


def test_a_picture_that_the_hasher_refuses_is_refused_alone(photos):
    class Choosy(BlockHasher):
        def hash_pixels(self, pictures, bits=None):
            if any(pixels.shape[0] == 25 for pixels in pictures):
                raise ImageReadError("25 rows are no picture")
            return super().hash_pixels(pictures, bits)

    Image.fromarray(natural_picture(50, 60)).save(photos / "p2.jpg")
    found, _ = list_pictures(photos, str(photos))
    index = building.new_index(reader(), str(photos))
    report = updating.update(index, found, CodeReader(Choosy()))
    assert len(index) == 4
    assert [failure.message for failure in report.failures if "rows" in failure.message] == [
        f"{photos / 'p2.jpg'}: 25 rows are no picture"
    ]


# -- queries -----------------------------------------------------------------------------------------


def test_queries_find_themselves_and_fail_one_by_one(photos, tmp_path):
    index, _ = building.build(photos, tmp_path / "a.hix", reader())
    queries = [photos / "p0.jpg", photos / "broken.jpg", tmp_path / "none.png", photos / "sub" / "p3.png"]
    answers = list(answer(index, reader(), queries, k=2))
    assert [len(found.hits) for found in answers] == [2, 0, 0, 2]
    assert [found.hits[0].path for found in (answers[0], answers[3])] == [queries[0], queries[3]]
    assert answers[0].hits[0].distance == 0
    assert "not a picture" in str(answers[1].error)
    assert "no such file" in str(answers[2].error)
    near = next(answer(index, reader(), queries[:1], k=None, max_distance=0))
    assert [hit.id for hit in near.hits] == ["p0.jpg"]
    everything = next(answer(index, reader(), queries[:1], k=None))
    ranked = [(hit.distance, hit.id) for hit in everything.hits]
    assert len(ranked) == 5
    assert ranked == sorted(ranked)
    with pytest.raises(UsageError):
        list(answer(index, reader(), queries[:1], k=0))


def test_turned_queries_find_mirrored_and_turned_pictures(photos, tmp_path):
    index, _ = building.build(photos, tmp_path / "a.hix", reader())
    for number, how in enumerate(Image.Transpose):
        Image.open(photos / "p1.png").transpose(how).save(tmp_path / f"q{number}.png")
        found = next(answer(index, reader(), [tmp_path / f"q{number}.png"], k=1, turned=True))
        assert (found.hits[0].id, found.hits[0].distance) == ("p1.png", 0)


def test_copies_are_numbered_and_never_overwrite(photos, tmp_path):
    index, _ = building.build(photos, tmp_path / "a.hix", reader())
    found = next(answer(index, reader(), [photos / "p0.jpg"], k=2))
    targets = copy_hits(found.hits, tmp_path, photos)
    assert targets[0].name == "001_d00_p0.jpg"
    assert [t.read_bytes() for t in targets] == [hit.path.read_bytes() for hit in found.hits]
    with pytest.raises(OutputExistsError):
        copy_hits(found.hits, tmp_path, photos)


def test_ids_and_paths_are_inverses():
    for path in ("/photos/a.jpg", "/photos/b/c.jpg", "/elsewhere/a.jpg", "/photosx/a.jpg"):
        assert str(path_of(id_of(Path(path), "/photos"), "/photos")) == path
    assert id_of(Path("/photos/b/c.jpg"), "/photos") == "b/c.jpg"
    assert id_of(Path("/photosx/a.jpg"), "/photos") == "/photosx/a.jpg"


def test_a_folder_that_cannot_be_read_is_a_failure(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    real = os.scandir

    def scandir(path):
        if str(path).endswith("a"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found, failures = list_pictures(tmp_path, str(tmp_path))
    assert found == []
    assert failures == [Failure(str(tmp_path / "a"), f"{tmp_path / 'a'}: cannot be read (Permission denied)")]
