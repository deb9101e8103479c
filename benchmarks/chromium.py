"""Chromium without a window, told what to do over a pipe by the DevTools protocol: for tests and benchmarks."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,800",
)


def find_browser() -> str | None:
    """The program, or None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


class PageError(Exception):
    """What a page was asked to do failed, or took too long."""


class Browser:
    """A browser with one page. profile: a folder of its own; options: further ones of the command line.

    said: what the page wrote to its console, violations of its content-security policy among it.
    """

    def __init__(self, profile: Path, *options: str) -> None:
        browser = find_browser()
        if browser is None:
            raise PageError("no chromium")
        (inward, self._to), (self._from, outward) = os.pipe(), os.pipe()
        # The protocol's descriptors are 3 and 4: a shell puts ours there, whatever their numbers are here.
        moved = f'exec "$@" 3<&{inward} 4>&{outward}'
        command = ["bash", "-c", moved, "chromium", browser, *OPTIONS, *options, f"--user-data-dir={profile}"]
        self._process = subprocess.Popen(
            [*command, "--remote-debugging-pipe", "about:blank"],
            pass_fds=(inward, outward),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(inward)
        os.close(outward)
        self._number, self._rest, self._session = 0, b"", None
        self.said: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser."""
        os.close(self._to)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)

    @property
    def process(self) -> int:
        """The number of the browser's first process."""
        return self._process.pid

    def call(self, method: str, seconds: float = 60, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol -> what it answers. Raises PageError."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + seconds
        while True:
            answer = self._next(deadline, method)
            if answer.get("id") == self._number:
                break
            self._note(answer)
        if "error" in answer:
            raise PageError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self, deadline: float, method: str) -> dict[str, Any]:
        while b"\0" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._from], [], [], left)[0]:
                raise PageError(f"{method}: no answer in time; the page said {self.said[-5:]}")
            read = os.read(self._from, 1 << 20)
            if not read:
                raise PageError(f"{method}: the browser ended")
            self._rest += read
        message, self._rest = self._rest.split(b"\0", 1)
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _note(self, event: dict[str, Any]) -> None:
        what = event.get("params", {})
        if event.get("method") == "Runtime.consoleAPICalled":
            self.said.append(" ".join(str(one.get("value", one.get("description"))) for one in what["args"]))
        elif event.get("method") == "Log.entryAdded":
            self.said.append(f"{what['entry']['text']} ({what['entry'].get('url', '')})")
        elif event.get("method") == "Runtime.exceptionThrown":
            details = what["exceptionDetails"]
            self.said.append(details.get("exception", {}).get("description", details["text"]))

    def go(self, url: str) -> None:
        """Open a page, and wait until it is loaded."""
        self.call("Page.navigate", url=url)
        self.evaluate("document.readyState === 'complete' || new Promise(done => addEventListener('load', done))")

    def evaluate(self, expression: str, seconds: float = 60) -> Any:
        """The value of an expression of JavaScript in the page, awaited if it is a promise. Raises PageError."""
        found = self.call(
            "Runtime.evaluate", seconds, expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise PageError(details.get("exception", {}).get("description", details["text"]))
        return found["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """What the page looks like, as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
