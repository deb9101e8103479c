"""Write the golden index files of a format version, and what they hold as indexes.json.

Run it once per format version; files that exist are never written again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
import numpy as np

from aecodec.data.files import make_folder, write_atomic
from aecodec.index.hash_index import HashIndex
from aecodec.index.windows import LAYOUTS

#: Version of the format -> layouts of windows that its files have.
VERSIONS = {1: (0,), 2: (1,)}


def golden_indexes(layout: int = 0) -> dict[str, HashIndex]:
    """An index of each kind of ids, with the windows of a layout."""
    found = {}
    for name, n_bits in (("implicit", 64), ("numbers", 24), ("paths", 256)):
        index = HashIndex(
            hasher="golden",
            fingerprint=bytes(range(8)),
            n_bits=n_bits,
            paths=name == "paths",
            root="/photos" if name == "paths" else "",
            layout=layout,
        )
        codes = (np.arange(5 * n_bits // 8) * 37 % 251).astype(np.uint8).reshape(5, -1)
        stamps = np.arange(10).reshape(5, 2) * 10**17 if name == "paths" else None
        ids: dict[str, Any] = {
            "implicit": None,
            "numbers": [9, 2**62, 0, 7, 8],
            "paths": ["b.jpg", "a/b.jpg", "a.jpg", "a/\u00e4.jpg", os.fsdecode(b"z\xff.jpg")],
        }
        count = len(LAYOUTS[layout])
        windows = (np.arange(count * codes.size) * 41 % 253).astype(np.uint8).reshape(5, count, n_bits // 8)
        index.add(ids[name], codes, windows=windows, stamps=stamps)
        found[f"{name}-windows-{layout}" if layout else name] = index
    return found


def content(index: HashIndex) -> dict[str, Any]:
    """All that an index holds, as JSON can hold it."""
    return {
        "hasher": index.hasher,
        "fingerprint": index.fingerprint.hex(),
        "n_bits": index.n_bits,
        "root": index.root,
        "ids": index.ids.tolist(),
        "codes": [code.tobytes().hex() for code in index.codes],
        **({"layout": index.layout, "windows": index.windows.tobytes().hex()} if index.layout else {}),
        "stamps": None if index.stamps is None else index.stamps.tolist(),
    }


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--version", type=click.Choice(sorted(map(str, VERSIONS))), default="2", show_default=True)
def main(folder: Path, version: str) -> None:
    """Write into FOLDER, e.g. tests/golden/v2."""
    make_folder(folder)
    indexes = {name: index for layout in VERSIONS[int(version)] for name, index in golden_indexes(layout).items()}
    for name, index in indexes.items():
        index.save(folder / f"{name}.hix")
    record = json.dumps({name: content(index) for name, index in indexes.items()}, indent=1) + "\n"
    write_atomic(folder / "indexes.json", record.encode(), overwrite=False)


if __name__ == "__main__":
    main()
