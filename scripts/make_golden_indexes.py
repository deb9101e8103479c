"""Write the golden index files of the current format version, and what they hold as indexes.json.

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


def golden_indexes() -> dict[str, HashIndex]:
    """An index of each kind of ids."""
    found = {}
    for name, n_bits in (("implicit", 64), ("numbers", 24), ("paths", 256)):
        index = HashIndex(
            hasher="golden",
            fingerprint=bytes(range(8)),
            n_bits=n_bits,
            paths=name == "paths",
            root="/photos" if name == "paths" else "",
        )
        codes = (np.arange(5 * n_bits // 8) * 37 % 251).astype(np.uint8).reshape(5, -1)
        stamps = np.arange(10).reshape(5, 2) * 10**17 if name == "paths" else None
        ids: dict[str, Any] = {
            "implicit": None,
            "numbers": [9, 2**62, 0, 7, 8],
            "paths": ["b.jpg", "a/b.jpg", "a.jpg", "a/\u00e4.jpg", os.fsdecode(b"z\xff.jpg")],
        }
        index.add(ids[name], codes, stamps=stamps)
        found[name] = index
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
        "stamps": None if index.stamps is None else index.stamps.tolist(),
    }


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Write into FOLDER, e.g. tests/golden/v1."""
    make_folder(folder)
    indexes = golden_indexes()
    for name, index in indexes.items():
        index.save(folder / f"{name}.hix")
    record = json.dumps({name: content(index) for name, index in indexes.items()}, indent=1) + "\n"
    write_atomic(folder / "indexes.json", record.encode(), overwrite=False)


if __name__ == "__main__":
    main()
