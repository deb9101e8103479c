"""``aecodec index``, ``search`` and ``dedup``: as a user types them, with a hasher that needs no model."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import natural_picture
from extras import is_here
from PIL import Image

from aecodec.cli import run
from aecodec.codec.codec import Codec
from aecodec.coding.container import SemanticHash
from aecodec.data.images import Picture
from aecodec.index.hash_index import HashIndex
from aecodec.index.windows import LAYOUT, LAYOUTS


@pytest.fixture
def photos(few_photos: Path, block_hasher: None) -> Path:
    """Pictures in the working folder's photos/, and a hasher that needs no model."""
    return few_photos


def answers(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(record.pop("schema_version") == 1 for record in records)
    return records


def built(capsys: pytest.CaptureFixture[str]) -> str:
    assert run(["index", "build", "photos", "-o", "photos.hix"]) == 0
    capsys.readouterr()
    return "photos.hix"


def test_build_add_remove_sync_info(photos, capsys):
    assert run(["index", "build", "photos", "-o", "photos.hix", "--json", "-j", "2"]) == 0
    record = answers(capsys)[-1]
    assert (record["event"], record["pictures"], record["added"], record["failed"]) == ("summary", 5, 5, 0)
    assert record["pictures_per_second"] > 0
    (photos / "p0.png").unlink()
    Image.fromarray(natural_picture(64, 96, 9)).save(photos / "p9.png")
    assert run(["index", "sync", "photos.hix"]) == 0
    assert "photos.hix: 5 pictures (1 new, 1 removed, 4 unchanged) in " in capsys.readouterr().out
    assert run(["index", "sync", "photos.hix"]) == 0
    assert capsys.readouterr().out == "photos.hix: 5 pictures (5 unchanged)\n"
    shutil.copy(photos / "p1.png", "outside.png")
    assert run(["index", "add", "photos.hix", "outside.png", "--json"]) == 0
    assert answers(capsys)[-1]["added"] == 1
    assert run(["index", "remove", "photos.hix", "outside.png", "photos/p9.png"]) == 0
    assert capsys.readouterr().out == "photos.hix: 4 pictures (2 removed, 4 unchanged)\n"
    assert HashIndex.load("photos.hix").ids.tolist() == ["<copy> & co.jpg", "p1.png", "p2.png", "p3.png"]
    assert run(["index", "info", "photos.hix", "--json"]) == 0
    record = answers(capsys)[0]
    assert (record["rows"], record["bits"], record["hasher"], record["root"]) == (4, 64, "blocks", str(photos))
    assert record["backend"] == "numpy"
    assert run(["index", "info", "photos.hix"]) == 0
    told = capsys.readouterr().out
    assert "photos.hix: 4 paths, 64 bits" in told
    assert "backend numpy (4 codes of 64 bits" in told


def test_shorter_codes_are_asked_for_by_bits(photos, capsys):
    assert run(["index", "build", "photos", "-o", "a.hix", "--bits", "32"]) == 0
    assert HashIndex.load("a.hix").n_bits == 32
    assert run(["search", "a.hix", "photos/p1.png", "-k", "1"]) == 0
    assert run(["index", "build", "photos", "-o", "b.hix", "--bits", "128"]) == 2
    assert "codes of 32, 64 bits, not of 128" in capsys.readouterr().err


def test_an_index_with_windows_says_so_and_keeps_them(photos, capsys):
    assert run(["index", "build", "photos", "-o", "photos.hix", "--windows", "--json"]) == 0
    count = answers(capsys)[-1]["windows"]
    Image.fromarray(natural_picture(64, 96, 9)).save(photos / "p9.png")
    assert run(["index", "sync", "photos.hix"]) == 0
    capsys.readouterr()
    assert HashIndex.load("photos.hix").windows.shape == (6, count, 8)
    assert run(["index", "info", "photos.hix"]) == 0
    assert f"photos.hix: 6 paths, 64 bits, {count} windows each" in capsys.readouterr().out
    assert run(["index", "info", "photos.hix", "--json"]) == 0
    assert answers(capsys)[0]["windows"] == count > 0


def test_an_unreadable_picture_is_reported_and_skipped(photos, capsys):
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert run(["index", "build", "photos", "-o", "photos.hix", "--json"]) == 1
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    assert "photos/broken.png: " in output.err
    events = [json.loads(line)["event"] for line in output.out.splitlines()]
    assert events == ["failed", "summary"]
    assert len(HashIndex.load("photos.hix")) == 5
    assert run(["dedup", "photos"]) == 1


def test_search(photos, capsys):
    index = built(capsys)
    assert run(["search", index, "photos/p2.png", "-k", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0] == "   0  photos/p2.png"
    assert lines[1].endswith("photos/<copy> & co.jpg")
    assert run(["search", index, "photos/p2.png", "photos/p3.png", "--max-distance", "0", "--json"]) == 0
    records = answers(capsys)
    assert [record["query"] for record in records] == ["photos/p2.png", "photos/p3.png"]
    plain = {"part": None, "query_part": None, "turned": None, "code": "pixels"}
    assert records[1]["hits"] == [{"path": str(photos / "p3.png"), "id": "p3.png", "distance": 0, **plain}]
    assert run(["search", index, "photos/p2.png", "photos/p3.png"]) == 0
    assert "photos/p3.png:\n   0  photos/p3.png\n" in capsys.readouterr().out
    Image.open(photos / "p1.png").transpose(Image.Transpose.ROTATE_90).save("turned.png")
    assert run(["search", index, "turned.png", "--turned", "-k", "1"]) == 0
    assert capsys.readouterr().out == "   0  photos/p1.png\n"


def test_a_crop_and_its_original_meet_and_the_windows_are_told(photos, capsys, monkeypatch):
    whole = Image.open(photos / "p1.png")
    window = LAYOUTS[LAYOUT][3]
    left, top = round(window.left * whole.width), round(window.top * whole.height)
    crop = whole.crop(
        (left, top, round((window.left + window.width) * 96), round((window.top + window.height) * whole.height))
    )
    crop.save("crop.png")
    for folder, query, key, other in (
        ("photos", "crop.png", "part", "query_part"),
        ("crops", "photos/p1.png", "query_part", "part"),
    ):
        (photos.parent / "crops").mkdir(exist_ok=True)
        shutil.copy("crop.png", "crops/a.png")
        assert run(["index", "build", folder, "-o", "w.hix", "--windows", "-f"]) == 0
        capsys.readouterr()
        assert run(["search", "w.hix", query, "-k", "1", "--json"]) == 0
        hit = answers(capsys)[0]["hits"][0]
        found = photos / "p1.png" if folder == "photos" else photos.parent / "crops" / "a.png"
        assert (hit["path"], hit["distance"] <= 4, hit[other]) == (str(found), True, None)
        sides = (window.left, window.top, window.width, window.height)
        assert hit[key] == [round(side, 4) for side in sides]
    part = f"the query's {window.width:.0%} x {window.height:.0%} at {window.left:.0%}, {window.top:.0%}"
    line = f"{hit['distance']:4d}  crops/a.png"
    assert run(["search", "w.hix", "photos/p1.png", "-k", "1"]) == 0
    assert capsys.readouterr().out == f"{line}\n"
    assert run(["search", "w.hix", "photos/p1.png", "-k", "1", "--origin"]) == 0
    assert capsys.readouterr().out == f"{line}  ({part})\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run(["search", "w.hix", "photos/p1.png", "-k", "1"]) == 0
    assert capsys.readouterr().out == f"{line}  ({part})\n"
    whole.transpose(Image.Transpose.ROTATE_90).save("left.png")
    assert run(["search", "w.hix", "left.png", "-k", "1", "--turned", "--origin"]) == 0
    assert capsys.readouterr().out == f"{line}  ({part}, query turned right)\n"
    assert run(["search", "w.hix", "left.png", "-k", "1", "--turned", "--html", "a.html"]) == 0
    assert f"{html.escape(part)} · query turned right" in Path("a.html").read_text()


def test_engines_answer_alike(photos, capsys, monkeypatch):
    index, said = built(capsys), []
    cases = [("numpy", 50_000), ("auto", 50_000), ("auto", 1), ("multi-index", 1)]
    for backend, many in [*cases, *([("faiss", 1)] if is_here("faiss") else [])]:
        monkeypatch.setattr("aecodec.cli.dedup.MANY", many)
        assert run(["search", index, "photos/p2.png", "-k", "2", "--backend", backend]) == 0
        for distance in ("4", "20"):
            assert run(["dedup", index, "--backend", backend, "--max-distance", distance]) == 0
        said.append(capsys.readouterr().out)
    assert said[0].splitlines()[0] == "   0  photos/p2.png"
    assert "1 group of 2 pictures among 5" in said[0]
    assert set(said) == {said[0]}


def test_hits_are_copied(photos, capsys):
    index = built(capsys)
    assert run(["search", index, "photos/p2.png", "-k", "2", "--copy-to", "found"]) == 0
    names = sorted(os.listdir("found"))
    assert names[0] == "001_d00_p2.png"
    assert re.fullmatch(r"002_d\d\d_<copy> & co\.jpg", names[1])
    assert run(["search", index, "photos/p2.png", "-k", "2", "--copy-to", "found"]) == 5
    assert run(["search", index, "photos/p2.png", "photos/p1.png", "-k", "1", "--copy-to", "both"]) == 0
    assert sorted(os.listdir("both")) == ["001_p2", "002_p1"]


def test_aec_files_are_decoded_upright(photos, capsys):
    exif = Image.Exif()
    exif[0x112] = 6
    Image.open(photos / "p1.png").transpose(Image.Transpose.ROTATE_90).save(photos / "turned.png", exif=exif)
    options = ["--orientation", "keep", "-q", "95", "--no-hash"]
    assert run(["compress", "photos/turned.png", "-o", "photos/turned.aec", *options]) == 0
    index = built(capsys)
    assert run(["search", index, "photos/p1.png", "-k", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line[6:] for line in lines} == {"photos/p1.png", "photos/turned.png", "photos/turned.aec"}
    assert all(int(line[:4]) < 8 for line in lines)
    assert run(["search", index, "photos/turned.aec", "-k", "1", "--turned", "--html", "a.html"]) == 0
    assert Path("a.html").read_text().count("data:image/jpeg") == 2


def test_a_folder_whose_aec_files_carry_short_hashes_is_indexed_without_decoding_them(photos, small_codec, capsys):
    pixels = natural_picture(64, 96, 1)
    carried = SemanticHash("blocks", b"\x01" * 8, bytes(4))
    data = small_codec.encode_picture(Picture(pixels), semantic_hash=carried).data
    (photos / "a.aec").write_bytes(data)  # of a model that is in no zoo: decoding it would fail
    assert run(["index", "build", "photos", "-o", "a.hix"]) == 0
    index = HashIndex.load("a.hix")
    assert index.n_bits == 32
    assert index.codes[index.ids.tolist().index("a.aec")].tobytes() == bytes(4)
    assert run(["search", "a.hix", "photos/a.aec", "-k", "1"]) == 0
    assert capsys.readouterr().out.endswith("   0  photos/a.aec\n")
    assert run(["search", "a.hix", "photos/a.aec", "-k", "1", "--origin"]) == 0
    assert capsys.readouterr().out.endswith("   0  photos/a.aec  (code stored in the file)\n")
    assert run(["search", "a.hix", "photos/a.aec", "--json"]) == 0
    assert [hit["code"] for hit in answers(capsys)[0]["hits"]] == ["stored"] + 5 * ["pixels"]
    assert run(["dedup", "photos", "--against", "photos"]) == 0
    assert "of 32 bits" in capsys.readouterr().out
    assert run(["index", "build", "photos", "-o", "b.hix", "--bits", "64"]) == 1
    assert "a.aec: the file needs model small" in capsys.readouterr().err


def test_what_compress_writes_is_indexed_without_decoding(few_photos, capsys, monkeypatch):
    """The embedded hasher and codec, from end to end: pictures of both kinds find each other."""
    assert run(["compress", "-r", "photos", "-o", "photos/", "-q", "80"]) == 0
    monkeypatch.setattr(Codec, "decode_container", None)
    assert run(["index", "build", "photos", "-o", "photos.hix"]) == 0
    assert HashIndex.load("photos.hix").n_bits == 64
    capsys.readouterr()
    for number in range(4):
        assert run(["search", "photos.hix", f"photos/p{number}.aec", "--max-distance", "2"]) == 0
        found = {line[6:] for line in capsys.readouterr().out.splitlines()}
        assert {f"photos/p{number}.aec", f"photos/p{number}.png"} <= found


def test_dedup_groups_and_changes_nothing(photos, capsys):
    before = {path: path.read_bytes() for path in photos.iterdir()}
    assert run(["dedup", "photos", "--max-distance", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "group 1"
    assert lines[1] == "keep  photos/p2.png  (96 x 64, 7.1 kB)"
    assert re.fullmatch(r"   \d  photos/<copy> & co\.jpg  \(48 x 32, \d+ B\)", lines[2])
    assert lines[3] == "1 group of 2 pictures among 5, at most 4 of 64 bits from the first"
    assert run(["dedup", "photos", "--max-distance", "4", "--fail-on-found"]) == 1
    (photos / "<copy> & co.jpg").rename("elsewhere.jpg")
    before = {path: data for path, data in before.items() if path.exists()}
    assert run(["dedup", "photos", "--max-distance", "4", "--fail-on-found"]) == 0
    assert {path: path.read_bytes() for path in photos.iterdir()} == before


def test_dedup_between_a_folder_and_an_index(photos, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    shutil.move(photos / "<copy> & co.jpg", tmp_path / "other")
    for name in ("x.png", "y.png"):  # copies within one of them do not count
        Image.fromarray(natural_picture(64, 96, 20)).save(tmp_path / "other" / name)
    index = built(capsys)
    for first, second in ((index, "other"), ("photos", "other")):
        assert run(["dedup", first, "--against", second, "--max-distance", "4", "--json"]) == 0
        group, summary = answers(capsys)
        assert [(Path(p["path"]).name, p["source"]) for p in group["pictures"]] == [
            ("p2.png", 0),
            ("<copy> & co.jpg", 1),
        ]
        assert (summary["groups"], summary["pictures"]) == (1, 7)


def test_bad_input_is_one_clear_line(photos, capsys, tmp_path):
    index = built(capsys)
    other = HashIndex(hasher="blocks", fingerprint=b"\x09" * 8, n_bits=64, paths=True, root=str(photos))
    other.save("other.hix")
    numbers = HashIndex(hasher="blocks", fingerprint=b"\x01" * 8, n_bits=64)
    numbers.save("numbers.hix")
    Path("damaged.hix").write_bytes(Path(index).read_bytes()[:-1])
    (tmp_path / "empty").mkdir()
    cases = [
        (["index", "build", "none", "-o", "a.hix"], 2, "none: no such folder"),
        (["index", "build", "empty", "-o", "a.hix"], 2, "empty: no pictures found"),
        (["index", "build", "photos", "-o", index], 5, "exists (use --force"),
        (["index", "build", "photos", "-o", "a.hix", "--hasher", "none"], 2, "no hasher 'none'"),
        (["index", "info", "none.hix"], 3, "none.hix: no such index"),
        (["index", "info", "photos/p1.png"], 3, "not an index"),
        (["index", "info", "damaged.hix"], 3, "truncated"),
        (["index", "remove", index, "p77.png"], 2, "p77.png: is not in the index"),
        (["index", "add", index, "none.png"], 1, "none.png: no such file"),
        (["index", "sync", "other.hix"], 3, "was built with hasher blocks 09"),
        (["index", "sync", "numbers.hix"], 2, "index is of numbers"),
        (["search", "other.hix", "photos/p1.png"], 3, "was built with hasher blocks 09"),
        (["search", index, "none.png"], 1, "none.png: no such file"),
        (["search", index, "photos/p1.png", "-k", "0"], 2, "Invalid value for '-k'"),
        (["search", index, "photos/p1.png", "--max-distance", "-1"], 2, "Invalid value for '--max-distance'"),
        (["search", index, "photos/p1.png", "-k", "1", "--html", index], 5, "exists"),
        (["index", "build", "photos", "-o", "none/a.hix"], 1, "none/a.hix: cannot be written (no such folder)"),
        (["dedup", "photos", "--html", index], 5, "exists"),
        (["dedup", "photos", "--html", "none/a.html"], 1, "none/a.html: cannot be written"),
        (["dedup", "none"], 3, "none: no such index"),
        (["dedup", "photos", "--against", "none"], 3, "none: no such index"),
        (["dedup", index, "--against", "other.hix"], 3, "was built with hasher blocks"),
    ]
    for arguments, code, message in cases:
        assert run(arguments) == code, arguments
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1, error
    assert run(["search", index, "none.png", "photos/p1.png"]) == 1


def test_searching_an_empty_index_finds_nothing(photos, capsys):
    index = built(capsys)
    assert (
        run(
            [
                "index",
                "remove",
                index,
                "photos/p0.png",
                "photos/p1.png",
                "photos/p2.png",
                "photos/p3.png",
                "photos/<copy> & co.jpg",
            ]
        )
        == 0
    )
    capsys.readouterr()
    assert run(["search", index, "photos/p1.png", "--html", "a.html"]) == 0
    assert run(["search", index, "photos/p1.png", "--max-distance", "64"]) == 0
    assert capsys.readouterr().out == ""
    assert run(["dedup", index]) == 0


def test_looking_at_and_removing_from_an_index_load_no_torch(photos, capsys):
    index = built(capsys)
    for arguments in (["index", "info", index], ["index", "remove", index, "photos/p1.png"], ["dedup", index]):
        code = f"import sys; from aecodec.cli import run; run({arguments!r}); sys.exit('torch' in sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_sync_keeps_what_it_could_not_look_at_and_says_so(photos, capsys):
    index = built(capsys)
    shutil.move(photos, "elsewhere")
    photos.mkdir()
    held = Path(index).read_bytes()
    assert run(["index", "sync", index, "--dry-run"]) == 1
    assert capsys.readouterr().out.splitlines()[1:] == [f"keep p{number}.png" for number in range(4)]
    assert run(["index", "sync", index]) == 1
    said = capsys.readouterr()
    assert said.out == "photos.hix: 5 pictures (5 kept unseen, 1 failed)\n"
    assert "photos: is empty or not there; its 5 pictures stay in the index (--allow-empty drops them)" in said.err
    (photos / "lost+found").mkdir()
    for arguments in (["--dry-run"], []):
        assert run(["index", "sync", index, *arguments]) == 2
        assert "5 of the 5 pictures in the index are not there; nothing was changed" in capsys.readouterr().err
    assert Path(index).read_bytes() == held
    assert run(["index", "sync", index, "--allow-empty", "--dry-run", "--json"]) == 0
    assert {record["event"] for record in answers(capsys)} == {"would drop"}
    assert run(["index", "sync", index, "--allow-empty", "--json"]) == 0
    assert answers(capsys)[-1]["removed"] == 5


def test_a_dry_sync_says_what_a_sync_does(photos, capsys):
    index = built(capsys)
    (photos / "p0.png").unlink()
    Image.fromarray(natural_picture(64, 96, 9)).save(photos / "p9.png")
    assert run(["index", "sync", index, "-n"]) == 0
    assert capsys.readouterr().out == "hash p9.png\ndrop p0.png\n"
    assert run(["index", "sync", index]) == 0
    assert "(1 new, 1 removed, 4 unchanged)" in capsys.readouterr().out


def test_no_command_waits_for_a_pipe(photos, capsys):
    os.mkfifo(photos / "pipe.png")
    (photos / "zero.png").symlink_to("/dev/zero")
    (photos / "away.raw").touch()
    os.mkfifo("pipe.png")
    passed_over = "3 files passed over (2 pipes or devices, 1 .raw)"
    assert run(["index", "build", "photos", "-o", "photos.hix"]) == 0
    assert passed_over in capsys.readouterr().err
    for arguments in (["index", "add", "photos.hix", "photos"], ["index", "sync", "photos.hix"], ["dedup", "photos"]):
        assert run(arguments) == 0
        assert passed_over in capsys.readouterr().err
    for arguments, code in (
        (["index", "add", "photos.hix", "pipe.png"], 1),
        (["search", "photos.hix", "pipe.png"], 1),
        (["dedup", "pipe.png"], 3),
        (["index", "info", "pipe.png"], 3),
    ):
        assert run(arguments) == code
        assert "pipe.png: is a pipe or a device, not a" in capsys.readouterr().err
