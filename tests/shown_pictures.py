"""A folder of pictures as a viewer finds them, stand-ins for the built pages, and a server that runs beside a law."""

from __future__ import annotations

import http.client
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import natural_picture
from PIL import Image

from aecodec.viewer.server import PictureServer

MARKUP = "<img src=x onerror=alert(1)>&quot; ?#%41.aec"


def furnish(folder: Path, aec: bytes) -> dict[str, bytes]:
    """Fill a folder -> the pictures of it that may be shown, by name. aec: bytes of an .aec file.

    Beside them there are what no address may lead to: hidden ones, texts, pipes, and links out of the folder.
    """
    shown = {"a.aec": aec, f"sub/{MARKUP}": aec, "sub/deep/again.AEC": aec}
    (folder / "sub" / "deep").mkdir(parents=True)
    for name, content in shown.items():
        (folder / name).write_bytes(content)
    Image.fromarray(natural_picture(32, 48)).save(folder / "p.png")
    shown["p.png"] = (folder / "p.png").read_bytes()
    (folder / "inner.aec").symlink_to("a.aec")
    shown["inner.aec"] = aec
    outside = folder.with_name("outside")
    outside.mkdir()
    for place in (outside / "secret.aec", folder / ".hidden.aec", folder / "notes.txt", folder.with_name("above.aec")):
        place.write_bytes(b"secret")
    (folder / ".git").mkdir()
    (folder / ".git" / "x.aec").write_bytes(b"secret")
    (folder / "out.aec").symlink_to(outside / "secret.aec")
    (folder / "outdir").symlink_to(outside, target_is_directory=True)
    (folder / "hid.aec").symlink_to(".git/x.aec")
    os.mkfifo(folder / "pipe.aec")
    return shown


def stand_ins(folder: Path) -> Path:
    """A folder with what `scripts/build_web` would have made, of no use."""
    (folder / "ort").mkdir(parents=True)
    for name in ("index.html", "wall.html", "wall.js", "ort/ort.wasm", "ort/ort.mjs"):
        (folder / name).write_text(f"this is {name}")
    (folder / "notes.map").write_text("of no use")
    return folder


@contextmanager
def serving(server: PictureServer) -> Iterator[PictureServer]:
    """The server answers until the block is left."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(
    server: PictureServer, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """Ask for a path below the token, or for an absolute one."""
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        place = path if path.startswith("/") else f"/{token_of(server)}/{path}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.putrequest(method, place, skip_host="Host" in named)
        if body is not None and "Content-Length" not in named:
            named["Content-Length"] = str(len(body))
        for name, value in named.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def token_of(server: PictureServer) -> str:
    """The first part of the address that the server tells."""
    return server.url.split("/")[3]
