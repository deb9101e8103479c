"""Whatever a library says of an exported file, as one line that names the file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ...contracts import IndexFileError


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """While a file is read: any error becomes an IndexFileError that begins with a name, unless it is one already."""
    try:
        yield
    except IndexFileError:
        raise
    except Exception as error:  # whatever NumPy, zipfile, zlib and pyarrow raise of their own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise IndexFileError(f"{name}: is no exported index ({reason})") from error
