"""What every command that writes checks before any work: no output is lost, and no input becomes one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..coding.container import SUFFIX as AEC
from ..contracts import OutputError
from ..data.outputs import FORCE, check_distinct, check_output, identities, input_replaced

#: Between the file and the key of an array's name.
_KEY = ".npz:"


def check_outputs(
    outputs: Iterable[tuple[Path, str]],
    *,
    overwrite: bool,
    inputs: Iterable[str | Path | None] = (),
    makes_folders: bool = False,
    advice: str = FORCE,
) -> None:
    """Before any work: raises UsageError, OutputError or OutputExistsError where a command could not write all of its
    outputs, or where one would replace what the command reads.

    outputs: each with what it is made of, for messages. inputs: whatever the command was given to read: files, names of
    models, FILE.npz:KEY, folders, which stand for the pictures below them. makes_folders: where they are missing.
    advice: what is said to somebody whose file exists.
    """
    outputs, given = list(outputs), _paths(inputs)
    check_distinct(outputs)
    folders = [os.path.join(os.path.realpath(path), "") for path in given if path.is_dir()]
    read = identities(given)
    for path, _ in outputs:
        check_output(path, overwrite=overwrite, inputs=read, advice=advice)
        real = os.path.realpath(path)
        if os.path.exists(real) and any(real.startswith(folder) for folder in folders) and _is_picture(real):
            raise input_replaced(path)
        if not makes_folders and not path.parent.is_dir():
            raise OutputError(f"{path}: cannot be written (no such folder)")


def _is_picture(path: str) -> bool:
    """Whether a walk would take a file for one."""
    from ..data.formats import picture_suffixes

    return Path(path).suffix.lower() in picture_suffixes() | {AEC}


def _paths(inputs: Iterable[str | Path | None]) -> list[Path]:
    """The files and folders among what a command was given."""
    found = []
    for given in inputs:
        if given is not None:
            name, key, _ = str(given).partition(_KEY)
            found.append(Path(name + key.rstrip(":")))
    return found
