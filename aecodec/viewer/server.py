"""The pages served to browsers of this machine, and to those alone that know a token.

Loopback is open to every program of the machine, and to every page that a browser shows. So each address begins with a
random token, without which everything is refused; and the name of the host must be that of loopback, so that a page of
elsewhere whose name was made to lead here is refused as well (DNS rebinding).
"""

from __future__ import annotations

import contextlib
import hmac
import secrets
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ..contracts import AecodecError, UnexpectedError
from ..parallel import Lock
from .pages import SEARCH, Answer, Pages
from .searching import LARGEST

HOST = "127.0.0.1"
#: What pages may load and run. Sent with everything, so that no file that is served is a page of another kind.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: Sent with every answer. The cross-origin ones let WebAssembly have threads, and keep pages of elsewhere out.
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
#: Seconds that a connection may be silent.
_PATIENCE = 60
_CHUNK = 1 << 16
#: Bytes of a refused upload that are read away, so that its sender gets to read the answer.
_DRAINED = 1 << 20


class PictureServer(ThreadingHTTPServer):
    """Pages on a random port of loopback, under a random token."""

    daemon_threads, block_on_close = True, False

    def __init__(self, pages: Pages, start: str = "") -> None:
        """start: the address, below the token, of what is shown first."""
        super().__init__((HOST, 0), Handler)
        self.pages, self._start = pages, start
        self._token, self._tickets = secrets.token_urlsafe(24), set[str]()
        self._lock = Lock()
        port = self.server_address[1]
        self.hosts = frozenset({f"{HOST}:{port}", f"localhost:{port}"})
        self._root = f"http://{HOST}:{port}/"

    @property
    def url(self) -> str:
        """Where to look; whoever knows it sees everything."""
        return f"{self._root}{self._token}/{self._start}"

    def ticket(self) -> str:
        """An address that leads to `url` once: that of a browser's command line, which other users can read."""
        ticket = secrets.token_urlsafe(24)
        with self._lock:
            self._tickets.add(ticket)
        return f"{self._root}{ticket}"

    def knows(self, token: str) -> bool:
        """Whether the first part of an address is the token, in the same time whatever it is."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token.encode())

    def redeem(self, ticket: str) -> bool:
        """Whether it is a ticket that was not used yet; it is now."""
        with self._lock:
            found = [
                one for one in self._tickets if hmac.compare_digest(ticket.encode("utf-8", "replace"), one.encode())
            ]
            self._tickets.difference_update(found)
        return bool(found)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that ended early is nobody's fault."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: PictureServer
    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE

    def __getattr__(self, name: str) -> Any:
        # http.server looks for a method of the request's name.
        if name.startswith("do_"):
            return self._answer_request
        raise AttributeError(name)

    def version_string(self) -> str:
        """What the Server header says."""
        return "aecodec"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: addresses hold the token."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself refuses, with the headers of every answer."""
        self.close_connection = True
        self._send(Answer.words(code, self.responses[code][0] if code in self.responses else "refused"))

    def _answer_request(self) -> None:
        if self.request_version == "HTTP/0.9":
            self.send_error(505)
            return
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # what is not read here is no further request
        try:
            answer = self._answer()
        except ConnectionError:
            raise
        except Exception as fault:
            answer = Answer.words(500, str(fault if isinstance(fault, AecodecError) else UnexpectedError.of(fault)))
        try:
            self._send(answer)
        finally:
            if not isinstance(answer.body, bytes):
                answer.body.close()

    def _answer(self) -> Answer:
        if self.headers.get_all("Host", []) not in ([host] for host in self.server.hosts):
            return Answer.words(403, "this server answers to the names of loopback only")
        _, first, *rest = self.path.partition("?")[0].split("/", 2) if self.path.startswith("/") else ("", "")
        if not self.server.knows(first):
            if self.command == "GET" and not rest and self.server.redeem(first):
                return Answer.words(303, "this way", Location=self.server.url)
            return Answer.words(403, "this address lacks the token of this server, or has an old one")
        if not rest:
            return Answer.words(308, "this way", Location=self.server.url)
        if rest == [SEARCH]:
            if self.command != "POST":
                return Answer.words(405, "pictures are sent here with POST", Allow="POST")
            return self._search()
        if self.command not in ("GET", "HEAD"):
            return Answer.words(405, "this is read with GET", Allow="GET, HEAD")
        return self.server.pages.get(rest[0])

    def _search(self) -> Answer:
        """The picture in the body of a request, searched for. Only pages of ours can send one: a form of another page
        cannot have this type."""
        length, kind = self.headers.get("Content-Length"), self.headers.get("Content-Type", "")
        if self.headers.get("Origin", "") not in ("", *(f"http://{host}" for host in self.server.hosts)):
            return _unsearched(403, "only pages of this server search")
        if kind.partition(";")[0].strip() != "application/octet-stream":
            return _unsearched(415, "a picture is sent as application/octet-stream")
        if "Transfer-Encoding" in self.headers or length is None:
            return _unsearched(411, "a picture is sent with its length")
        if not (length.isascii() and length.isdigit() and len(length) < 20):
            return _unsearched(400, "the length of the picture is no number")
        if int(length) > LARGEST:
            return _unsearched(413, f"the picture has {int(length)} bytes; at most {LARGEST} are taken")
        if not int(length):
            return _unsearched(422, "the file is empty")
        data = self.rfile.read(int(length))
        if len(data) < int(length):
            return _unsearched(400, "the picture ended early")
        return self.server.pages.search(data, turned=self.path.partition("?")[2] == "turned")

    def _send(self, answer: Answer) -> None:
        if self.request_version == "HTTP/0.9":  # which has no headers, and is what garbage is taken for
            self.request_version = "HTTP/1.0"
        self.send_response(answer.status)
        headers = {**HEADERS, "Content-Type": answer.type, "Content-Length": str(answer.size), **answer.headers}
        if self.close_connection:
            headers["Connection"] = "close"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(answer)
        if self.close_connection:
            self._let_go()

    def _send_body(self, answer: Answer) -> None:
        """A file that was made shorter meanwhile ends the connection, so that nobody takes it for whole."""
        if isinstance(answer.body, bytes):
            self.wfile.write(answer.body)
            return
        left = answer.size
        while left and (chunk := answer.body.read(min(left, _CHUNK))):
            self.wfile.write(chunk)
            left -= len(chunk)
        self.close_connection = self.close_connection or left > 0

    def _let_go(self) -> None:
        """End a connection so that the answer arrives: one that is closed while something of it is unread is reset."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1)
            left = _DRAINED
            while left > 0 and (chunk := self.connection.recv(_CHUNK)):
                left -= len(chunk)


def _unsearched(status: int, text: str) -> Answer:
    """Why nothing was searched for."""
    return Answer.record({"error": text}, status)
