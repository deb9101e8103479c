"""What the server of pictures answers, to whom, and what it never does."""

from __future__ import annotations

import json
import os
import socket
import struct
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from places import TESTS
from shown_pictures import ask, furnish, serving, stand_ins, token_of

from aecodec.contracts import MissingDependencyError, UnavailableError, UsageError
from aecodec.viewer.assets import find_assets
from aecodec.viewer.collection import Folder, NoPictures, OneFile, address_of
from aecodec.viewer.models import Models
from aecodec.viewer.pages import Pages, start_of
from aecodec.viewer.server import HEADERS, PictureServer
from aecodec.zoo.registry import read_header

MODEL = TESTS / "engine" / "small.safetensors"


@dataclass(frozen=True)
class Served:
    """A server, its folder and the pictures that it may show."""

    server: PictureServer
    folder: Path
    shown: dict[str, bytes]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("served")
    (place / "pictures").mkdir()
    shown = furnish(place / "pictures", b"bytes of an .aec file")
    folder = Folder(place / "pictures")
    assets = find_assets(wall=True, built=stand_ins(place / "dist"))
    with serving(PictureServer(Pages(folder, assets, Models(MODEL)))) as server:
        yield Served(server, folder.path, shown)
    folder.close()


def strict(answer) -> bool:
    """Whether an answer has the headers that all have, each once."""
    return all(answer.headers.get_all(name) == [value] for name, value in HEADERS.items())


def test_pages_decoder_models_and_pictures_are_served_with_their_types(served):
    print_ = read_header(MODEL)["fingerprint"].hex()
    for path, kind in (
        ("", "text/html; charset=utf-8"),
        ("index.html", "text/html; charset=utf-8"),
        ("wall.js", "text/javascript; charset=utf-8"),
        ("ort/ort.mjs", "text/javascript; charset=utf-8"),
        ("ort/ort.wasm", "application/wasm"),
        ("manifest.json", "application/json"),
        (f"models/{print_}.safetensors", "application/octet-stream"),
        ("files/a.aec", "application/octet-stream"),
        ("files/p.png", "image/png"),
    ):
        answer, body = ask(served.server, path)
        assert (answer.status, answer.headers["Content-Type"], len(body)) == (
            200,
            kind,
            int(answer.headers["Content-Length"]),
        )
        assert strict(answer)
        head, nothing = ask(served.server, path, "HEAD")
        assert nothing == b""
        head_fields, fields = ({k: v for k, v in one.getheaders() if k != "Date"} for one in (head, answer))
        assert head_fields == fields
    assert ask(served.server, "")[1] == b"this is wall.html"


def test_the_list_names_every_picture_that_may_be_shown_and_no_other(served):
    listed = json.loads(ask(served.server, "manifest.json")[1])
    assert {one["name"]: one["bytes"] for one in listed["files"]} == {k: len(v) for k, v in served.shown.items()}
    assert listed["search"] is None
    assert any("links out of the folder not followed" in note for note in listed["notes"])
    for one in listed["files"]:
        answer, body = ask(served.server, one["address"])
        assert (answer.status, body) == (200, served.shown[one["name"]])


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/favicon.ico",
        "/x/",
        "/{token}x/",
        "/{half}/",
        "//",
        "/x/{token}/",
        "/{quoted}/",
        "/X{token}/",
        "*",
        "/?{token}",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "SWIM"])
def test_nothing_is_answered_without_the_token(served, path, method):
    token = token_of(served.server)
    place = path.format(token=token, half=token[:-1], quoted=f"%{ord(token[0]):02x}{token[1:]}")
    if not place.startswith("/"):
        place = f"/{place}"
    answer, _ = ask(served.server, place, method)
    assert answer.status == 403
    assert strict(answer)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:{port}",
        "127.0.0.1",
        "localhost",
        "127.0.0.1:1",
        "[::1]:{port}",
        "",
        "127.0.0.1:{port}.evil.example",
    ],
)
def test_other_names_of_the_host_are_refused(served, host):
    port = served.server.server_address[1]
    answer, body = ask(served.server, "manifest.json", Host=host.format(port=port))
    assert answer.status == 403
    assert b"a.aec" not in body
    assert strict(answer)
    assert ask(served.server, "manifest.json", Host=f"localhost:{port}")[0].status == 200


def test_a_second_host_is_refused(served):
    port, token = served.server.server_address[1], token_of(served.server)
    lines = [f"GET /{token}/manifest.json HTTP/1.1", f"Host: 127.0.0.1:{port}", "Host: evil.example"]
    assert raw(served.server, "\r\n".join([*lines, "", ""]).encode()).startswith(b"HTTP/1.1 403 ")


def raw(server: PictureServer, request: bytes) -> bytes:
    """What comes back for bytes, until the server ends the connection or has said enough."""
    with socket.create_connection(server.server_address[:2], 30) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        found = b""
        while chunk := connection.recv(1 << 16):
            found += chunk
    return found


@pytest.mark.parametrize(
    "request_",
    [
        b"GET\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"GET http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ],
)
def test_what_is_no_request_gets_an_error_with_the_headers_of_all(served, request_):
    found = raw(served.server, request_)
    status = int(found.split(b" ")[1])
    assert 400 <= status < 600
    head = found.partition(b"\r\n\r\n")[0].decode()
    assert all(f"{name}: {value}" in head for name, value in HEADERS.items())
    assert ask(served.server, "")[0].status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"])
def test_pictures_are_read_with_get_alone(served, method):
    for path in ("files/a.aec", "manifest.json", ""):
        answer, _ = ask(served.server, path, method)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
        assert strict(answer)
    assert ask(served.server, "search")[0].headers["Allow"] == "POST"


OUTSIDE = [
    "files/.hidden.aec",
    "files/.git/x.aec",
    "files/notes.txt",
    "files/pipe.aec",
    "files/out.aec",
    "files/outdir/secret.aec",
    "files/hid.aec",
    "files/../above.aec",
    "files/%2e%2e/above.aec",
    "files/..%2fabove.aec",
    "files/sub/../../above.aec",
    "files/sub%2f..%2f..%2fabove.aec",
    "files/%2e%2e%5cabove.aec",
    "files/a.aec%00.png",
    "files/%00",
    "files//a.aec",
    "files/a.aec/",
    "files/./a.aec",
    "files/sub",
    "files/",
    "files",
    "files/" + "x" * 300 + ".aec",
    "files/" + "/".join(["d"] * 3000) + "/x.aec",
    "../manifest.json",
    "notes.map",
    "wall.html",
    "ort/",
    "ort/../wall.js",
    "%77all.js",
    "models/",
    "models/../wall.js",
    "models/0000000000000000.safetensors",
    "models/photo.safetensors",
    "models/ABCDEF0123456789.safetensors",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_address_leads_out_of_what_was_given(served, path):
    answer, body = ask(served.server, path)
    assert answer.status == 404
    assert b"secret" not in body
    assert strict(answer)


def test_absolute_paths_are_no_addresses(served):
    for path in (served.folder / "a.aec", served.folder.with_name("above.aec"), Path("/etc/passwd")):
        for quoted in (str(path), urllib.parse.quote(str(path), safe="")):
            assert ask(served.server, f"files/{quoted}")[0].status == 404


@given(
    st.lists(
        st.sampled_from(
            [
                "..",
                ".",
                "",
                "sub",
                "outdir",
                "out.aec",
                "a.aec",
                ".git",
                "x.aec",
                "secret.aec",
                "above.aec",
                "%2e",
                "%2e%2e",
                "%2f",
                "%5c",
                "\\",
                "%00",
                "%252e%252e",
                "files",
            ]
        ),
        max_size=8,
    ),
    st.sampled_from(["/", "%2f", "%2F", "\\", "//", "/./"]),
)
@example(["..", "..", "..", "..", "etc", "passwd"], "%2f")
def test_whatever_is_asked_for_is_a_picture_of_the_folder_or_nothing(served, parts, between):
    answer, body = ask(served.server, "files/" + between.join(parts))
    assert answer.status in (200, 404)
    assert body in served.shown.values() or answer.status == 404
    assert strict(answer)


@given(st.text(min_size=1, max_size=40))
def test_any_name_is_one_of_the_folder_or_refused_in_words(served, text):
    answer, _ = ask(served.server, address_of(text))
    assert answer.status == (200 if text in served.shown else 404)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_text_are_refused_in_words(served, data):
    answer, _ = ask(served.server, "files/" + urllib.parse.quote(data))
    assert answer.status in (200, 404)


def test_a_name_without_text_is_served(tmp_path):
    name = os.fsdecode(b"\xff\xfe.aec")
    (tmp_path / name).write_bytes(b"here")
    folder = Folder(tmp_path)
    assert [one.name for one in folder.listing().entries] == [name]
    with serving(PictureServer(Pages(folder, {}, Models()))) as server:
        listed = json.loads(ask(server, "manifest.json")[1])["files"]
        assert listed == [{"name": "??.aec", "address": "files/%FF%FE.aec", "bytes": 4}]
        assert ask(server, listed[0]["address"])[1] == b"here"
    folder.close()


def test_what_takes_the_place_of_a_folder_meanwhile_is_not_followed_out(tmp_path, monkeypatch):
    outside, sub = tmp_path / "outside", tmp_path / "pictures" / "sub"
    for folder, content in ((outside, b"secret"), (sub, b"mine")):
        folder.mkdir(parents=True)
        (folder / "a.aec").write_bytes(content)
    folder, look = Folder(tmp_path / "pictures"), os.path.realpath
    with folder.open("sub/a.aec") as file:
        assert file.read() == b"mine"

    def look_then_lose(path: str) -> str:
        found = look(path)
        if not sub.is_symlink():
            sub.rename(tmp_path / "pictures" / "old")
            sub.symlink_to(outside)
        return found

    monkeypatch.setattr(os.path, "realpath", look_then_lose)
    with pytest.raises(UnavailableError):
        folder.open("sub/a.aec")
    assert sub.is_symlink()
    folder.close()


def test_a_file_that_grows_or_shrinks_while_it_is_sent(tmp_path):
    path = tmp_path / "a.aec"
    path.write_bytes(b"x" * 10)
    pages = Pages(OneFile(path), {}, Models())
    with serving(PictureServer(pages)) as server:
        answer = pages.get("files/a.aec")
        path.write_bytes(b"y" * 20)
        assert answer.size == 10
        answer.body.close()
        assert ask(server, "files/a.aec")[1] == b"y" * 20
        path.unlink()
        assert ask(server, "files/a.aec")[0].status == 404


def test_one_file_is_served_alone_and_its_page_told_of_it(tmp_path, served):
    (tmp_path / "a b.aec").write_bytes(b"1")
    (tmp_path / "c.aec").write_bytes(b"2")
    one = OneFile(tmp_path / "a b.aec")
    with serving(PictureServer(Pages(one, {}, Models()), start_of(one))) as server:
        assert server.url.endswith("/index.html?file=files%2Fa%2520b.aec")
        assert ask(server, "files/a%20b.aec")[1] == b"1"
        assert ask(server, "files/c.aec")[0].status == 404
        assert ask(server, "files/../c.aec")[0].status == 404


def test_a_page_to_drop_files_on_serves_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.aec").write_bytes(b"1")
    with serving(PictureServer(Pages(NoPictures(), {}, Models()))) as server:
        assert json.loads(ask(server, "manifest.json")[1])["files"] == []
        assert ask(server, "files/a.aec")[0].status == 404


def test_a_ticket_leads_to_the_pages_once(served):
    ticket = urllib.parse.urlsplit(served.server.ticket()).path
    answer, _ = ask(served.server, ticket)
    assert (answer.status, answer.headers["Location"]) == (303, served.server.url)
    assert strict(answer)
    assert ask(served.server, ticket)[0].status == 403
    assert ask(served.server, urllib.parse.urlsplit(served.server.ticket()).path + "/manifest.json")[0].status == 403
    other = PictureServer(served.server.pages)
    assert other.url.split("/")[3] != token_of(served.server)
    other.server_close()


def test_the_token_without_a_slash_leads_to_the_page(served):
    answer, _ = ask(served.server, f"/{token_of(served.server)}")
    assert (answer.status, answer.headers["Location"]) == (308, served.server.url)


def test_the_server_is_on_loopback_alone(served):
    assert served.server.server_address[0] == "127.0.0.1"


def test_several_requests_of_a_connection_are_answered_in_order(served):
    port, token = served.server.server_address[1], token_of(served.server)
    one = f"GET /{token}/files/%s HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
    found = raw(served.server, (one % "a.aec" + one % "nothing.aec" + one % "p.png").encode())
    assert [part[:3] for part in found.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404", b"200"]


def test_what_follows_a_body_that_is_not_read_is_no_request(served):
    port, token = served.server.server_address[1], token_of(served.server)
    inner = f"GET /{token}/files/a.aec HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
    head = f"GET /{token}/manifest.json HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(inner)}\r\n\r\n"
    assert raw(served.server, (head + inner).encode()).count(b"HTTP/1.1 200") == 1


def test_a_connection_that_is_reset_ends_alone(served, capfd):
    port, token = served.server.server_address[1], token_of(served.server)
    for _ in range(3):
        connection = socket.create_connection(served.server.server_address[:2])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(f"GET /{token}/files/a.aec HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        connection.close()
    assert ask(served.server, "files/a.aec")[0].status == 200
    assert capfd.readouterr().err == ""


def test_what_is_no_folder_or_not_built_is_said(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        Folder(tmp_path / "none")
    with pytest.raises(MissingDependencyError, match="scripts/build_web"):
        find_assets(wall=True, built=tmp_path)
