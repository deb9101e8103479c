"""Pictures being fitted for minutes: a bar with the time left, and what the first Ctrl-C means."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .output import bar

if TYPE_CHECKING:
    from ..codec.pictures import PictureCodec


class Fitting:
    """Watches the fits of a command. A bar is shown for a single file."""

    def __init__(self, files: int, quiet: bool) -> None:
        self._quiet = quiet or files > 1
        self._stopped = threading.Event()

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """While a command works: the first Ctrl-C ends the fits that are going on, whose files are written as far as
        they have come, and the command before the next file; a second one ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: Any = signal.getsignal(signal.SIGINT)

        def stop(*_: object) -> None:
            self._stopped.set()
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    @contextlib.contextmanager
    def watched(self, codec: PictureCodec) -> Iterator[None]:
        """While a file is made. Raises KeyboardInterrupt if the command was to end before it."""
        from ..codec.overfitted import OverfittedCodec

        if not isinstance(codec, OverfittedCodec):
            yield
            return
        self.check()
        with bar("fitting", 1.0, quiet=self._quiet) as show:

            def watch(share: float) -> bool:
                show(completed=share)
                return not self._stopped.is_set()

            codec.watch = watch
            yield

    def check(self) -> None:
        """Raises KeyboardInterrupt if the command is to end."""
        if self._stopped.is_set():
            raise KeyboardInterrupt
