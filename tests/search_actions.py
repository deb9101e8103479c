"""What can be done about duplicates, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from aecodec.search.moving import Action, ToFolder, ToLink, ToTrash

#: Name -> the action, given a folder in which it may make one of its own.
ACTIONS: dict[str, Callable[[Path], Action]] = {
    "move": lambda folder: ToFolder(folder / "moved"),
    "trash": lambda folder: ToTrash(),
    "hard": lambda folder: ToLink(symbolic=False),
    "sym": lambda folder: ToLink(symbolic=True),
}
