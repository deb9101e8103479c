"""A picture that is sent to be searched for: what comes back, and what is refused in words."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import natural_picture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from shown_pictures import ask, serving, stand_ins, token_of

from aecodec.cli import run
from aecodec.cli.hashing import decoder, open_index, open_reader
from aecodec.contracts import IndexFileError
from aecodec.viewer.collection import Folder
from aecodec.viewer.models import Models
from aecodec.viewer.pages import Pages
from aecodec.viewer.searching import LARGEST, MOST, Search
from aecodec.viewer.server import HEADERS, PictureServer

SENT = {"Content_Type": "application/octet-stream"}


def searching(folder: Folder, index: Path) -> Search:
    return Search(index, folder, open_index, lambda opened: open_reader(None, "cpu", 1, index=opened), decoder("cpu"))


@pytest.fixture
def server(few_photos: Path, block_hasher: None) -> Iterator[PictureServer]:
    """The pictures of photos/ and their index photos.hix."""
    assert run(["index", "build", "photos", "-o", "photos.hix", "--quiet"]) == 0
    folder = Folder(few_photos)
    with serving(PictureServer(Pages(folder, {}, Models(), searching(folder, Path("photos.hix"))))) as found:
        yield found
    folder.close()


def searched(server: PictureServer, data: bytes | None, path: str = "search", **headers: str) -> tuple[int, dict]:
    """Status and JSON of a search; every answer has the headers of all."""
    answer, body = ask(server, path, "POST", data, **{**SENT, **headers})
    assert all(answer.headers.get_all(name) == [value] for name, value in HEADERS.items())
    assert answer.headers["Content-Type"] == "application/json"
    return answer.status, json.loads(body)


def test_hits_come_by_distance_with_the_addresses_of_pictures(server, few_photos, capsys):
    status, found = searched(server, (few_photos / "p2.png").read_bytes())
    assert (status, found["bits"], len(found["hits"])) == (200, 64, 5)
    assert {hit["name"] for hit in found["hits"][:2]} == {"p2.png", "<copy> & co.jpg"}
    distances = [hit["distance"] for hit in found["hits"]]
    assert (distances[0], distances) == (0, sorted(distances))
    for hit in found["hits"]:
        assert ask(server, hit["address"])[1] == (few_photos / hit["name"]).read_bytes()
    capsys.readouterr()
    assert run(["search", "photos.hix", "photos/p2.png", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["hits"]
    assert [(hit["id"], hit["distance"]) for hit in told] == [(hit["name"], hit["distance"]) for hit in found["hits"]]


def test_turned_pictures_are_found_on_request(server, few_photos):
    buffer = io.BytesIO()
    Image.open(few_photos / "p1.png").transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG")
    plain, turned = (searched(server, buffer.getvalue(), path)[1]["hits"][0] for path in ("search", "search?turned"))
    assert plain["distance"] > 0
    assert (turned["name"], turned["distance"]) == ("p1.png", 0)
    assert "turned" in "".join(turned["marks"])


@pytest.mark.parametrize(
    "data", [b"hello", b"AEC\0", b"AEC\0" + b"\xff" * 60, b"\x89PNG\r\n\x1a\n", b"\0" * 5000, b"GIF89a"]
)
def test_what_is_no_picture_ends_in_words(server, data):
    status, found = searched(server, data)
    assert status == 422
    assert found["error"]
    assert "/" not in found["error"]  # no path of this machine
    assert searched(server, (Path("photos") / "p1.png").read_bytes())[0] == 200


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 3000), st.binary(min_size=1, max_size=8))
def test_damaged_pictures_end_in_words_or_are_found(server, place, bytes_):
    data = bytearray((Path("photos") / "p0.png").read_bytes())
    data[place : place + len(bytes_)] = bytes_
    status, found = searched(server, bytes(data))
    assert (status, "hits" in found) in ((200, True), (422, False))


def test_a_picture_of_too_many_pixels_is_refused(server, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    status, found = searched(server, (Path("photos") / "p1.png").read_bytes())
    assert (status, "1000" in found["error"]) == (422, True)


def test_uploads_have_a_limit_that_is_told_before_they_are_read(server):
    listed = json.loads(ask(server, "manifest.json")[1])
    assert listed["search"] == {"address": "search", "limit": LARGEST}
    for length in (LARGEST + 1, 10**18):
        status, found = searched(server, None, Content_Length=str(length))
        assert (status, str(LARGEST) in found["error"]) == (413, True)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 411),
        ({"Content_Length": "-1"}, 400),
        ({"Content_Length": "ten"}, 400),
        ({"Content_Length": "\u00b2"}, 400),
        ({"Content_Length": "9" * 400}, 400),
        ({"Content_Length": "0"}, 422),
        ({"Transfer_Encoding": "chunked"}, 411),
        ({"Content_Length": "5", "Content_Type": "text/plain"}, 415),
        ({"Content_Length": "5", "Content_Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content_Length": "5", "Origin": "http://evil.example"}, 403),
        ({"Content_Length": "5", "Origin": "null"}, 403),
    ],
)
def test_requests_that_no_page_of_ours_makes_are_refused_in_words(server, headers, status):
    found, record = searched(server, None, **headers)
    assert (found, bool(record["error"])) == (status, True)


def test_an_upload_that_ends_early_is_dropped(server):
    port, token = server.server_address[1], token_of(server)
    head = f"POST /{token}/search HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/octet-stream\r\n"
    with socket.create_connection(server.server_address[:2], 30) as connection:
        connection.sendall(f"{head}Content-Length: 1000\r\n\r\nhalf".encode())
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 400 ")
    assert searched(server, (Path("photos") / "p1.png").read_bytes())[0] == 200


def test_nothing_of_an_upload_stays(server, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    searched(server, (Path("photos") / "p1.png").read_bytes())
    searched(server, b"hello")
    assert not list((tmp_path / "temporary").iterdir())


def test_hits_outside_the_folder_are_named_and_not_served(server, few_photos, tmp_path):
    Image.fromarray(natural_picture(64, 96, 7)).save(tmp_path / "outside.png")
    (tmp_path / "gone").mkdir()
    assert run(["index", "add", "photos.hix", str(tmp_path / "outside.png"), "--quiet"]) == 0
    (few_photos / "p3.png").unlink()
    _, found = searched(server, (tmp_path / "outside.png").read_bytes())
    by_name = {hit["name"]: hit for hit in found["hits"]}
    nearest = found["hits"][0]
    assert (nearest["name"], nearest["distance"], nearest["address"]) == (str(tmp_path / "outside.png"), 0, None)
    assert by_name["p3.png"]["address"] is None
    assert ask(server, f"files/{tmp_path}/outside.png")[0].status == 404


def test_an_index_that_is_damaged_later_is_said(server, few_photos):
    Path("photos.hix").write_bytes(b"of no use, and longer than it was " * 99)
    status, found = searched(server, (few_photos / "p1.png").read_bytes())
    assert (status, "not an index" in found["error"]) == (500, True)


def test_no_more_hits_are_told_than_fit_a_page(few_photos, block_hasher, tmp_path):
    for number in range(MOST + 10):
        Image.fromarray(natural_picture(16, 16, number)).save(few_photos / f"more{number}.png")
    assert run(["index", "build", "photos", "-o", "photos.hix", "--quiet"]) == 0
    folder = Folder(few_photos)
    assert len(searching(folder, Path("photos.hix"))((few_photos / "p1.png").read_bytes())["hits"]) == MOST
    with pytest.raises(IndexFileError):
        searching(folder, few_photos / "p1.png")
    folder.close()


# -- the command -----------------------------------------------------------------------------------------------------

VIEW = """
import sys
from pathlib import Path
from aecodec.cli import main
from aecodec.viewer import assets
assets.BUILT = Path(sys.argv.pop(1))
main(sys.argv[1:])
"""


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_an_address_serves_and_ends(few_photos, tmp_path, ending):
    built = stand_ins(tmp_path / "dist")
    command = [sys.executable, "-c", VIEW, str(built), "view", "photos", "--no-browser"]
    # A shell starts what runs in its background with the signal ignored, and this may be one of that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        signal.signal(signal.SIGINT, before)
        assert process.stdout is not None
        scheme, _, host, token, rest = process.stdout.readline().strip().split("/")
        assert (scheme, rest, len(token) >= 32) == ("http:", "", True)
        connection = http.client.HTTPConnection(host, timeout=30)
        connection.request("GET", f"/{token}/manifest.json")
        assert len(json.loads(connection.getresponse().read())["files"]) == 5
        process.send_signal(ending)  # the connection is open still
        out, err = process.communicate(timeout=60)
        connection.close()
    assert (out, err) == ("", "")
    assert process.returncode == (0 if ending == signal.SIGINT else -ending)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["none"], 1, "no such file"),
        (["photos", "--index", "none.hix"], 3, "no such index"),
        (["photos/p1.png", "--index", "photos.hix"], 2, "--index is for a folder"),
        (["photos", "-m", "none"], 2, "no model"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(few_photos, tmp_path, monkeypatch, capsys, arguments, code, words):
    monkeypatch.setattr("aecodec.viewer.assets.BUILT", stand_ins(tmp_path / "dist"))
    assert run(["view", "--no-browser", *arguments]) == code
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert words in told.err


def test_the_index_beside_a_folder_is_searched_if_it_is_of_that_folder(few_photos, block_hasher, capsys, monkeypatch):
    from aecodec.cli import view

    assert run(["index", "build", "photos", "-o", "photos.hix", "--quiet"]) == 0
    folder = Folder(few_photos)
    assert view.find_search(folder, None, None) is not None
    os.rename("photos.hix", "other.hix")
    assert view.find_search(folder, None, None) is None
    assert view.find_search(folder, Path("other.hix"), None) is not None
    Path("elsewhere").mkdir()
    Image.open(few_photos / "p1.png").save("elsewhere/a.png")
    assert run(["index", "build", "elsewhere", "-o", "photos.hix", "--quiet"]) == 0
    capsys.readouterr()
    assert view.find_search(folder, None, None) is None
    assert "is the index of another folder" in capsys.readouterr().err
    Path("photos.hix").write_bytes(b"of no use")
    assert view.find_search(folder, None, None) is None
    assert "there is no search" in capsys.readouterr().err
    folder.close()
