"""Plug-ins of Pillow that the extra ``formats`` brings: HEIC and JPEG XL are read through them, where they are."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from importlib.util import find_spec

_ADVICE = "pip install 'aecodec[formats]'"


@dataclass(frozen=True)
class PlugIn:
    """format: Pillow's name. title: for people. package: what is installed. module: what is imported. register: a
    function of it that is then called; empty where importing it is enough. suffixes: in lower case."""

    format: str
    title: str
    package: str
    module: str
    register: str
    suffixes: tuple[str, ...]

    @property
    def is_here(self) -> bool:
        """Whether the package is installed; it is not imported."""
        try:
            return find_spec(self.module) is not None
        except (ImportError, ValueError):
            return False

    def accepts(self, head: bytes) -> bool:
        """Whether a file that begins so is one of the format."""
        return any(head[offset : offset + len(mark)] == mark for offset, mark in _MARKS[self.format])


#: By Pillow's name: (offset, bytes) of which a file has one.
_MARKS = {
    "HEIF": [
        (4, b"ftyp" + brand) for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
    ],
    "JXL": [(0, b"\xff\x0a"), (0, b"\0\0\0\x0cJXL \r\n\x87\n")],
}
PLUGINS = (
    PlugIn(
        "HEIF",
        "HEIC",
        "pillow-heif",
        "pillow_heif",
        "register_heif_opener",
        (".heic", ".heics", ".heif", ".heifs", ".hif"),
    ),
    PlugIn("JXL", "JPEG XL", "pillow-jxl-plugin", "pillow_jxl", "", (".jxl",)),
)
FORMATS = frozenset(plugin.format for plugin in PLUGINS)
_tried: set[str] = set()


def register_plugins(head: bytes | None = None) -> None:
    """Have Pillow know the plug-ins that are installed, after its own; of a file's first bytes, those that it is for.

    One that cannot be imported counts as not installed.
    """
    for plugin in PLUGINS:
        wanted = head is None or plugin.accepts(head)
        if not wanted or plugin.format in _tried or not plugin.is_here:
            continue
        _tried.add(plugin.format)
        try:
            module = importlib.import_module(plugin.module)
            if plugin.register:
                getattr(module, plugin.register)()
        # Whatever a package does that does not go with this system: the picture is then refused by name.
        except Exception:
            continue


def plugin_suffixes() -> frozenset[str]:
    """Endings of names of the pictures that installed plug-ins read, without importing any."""
    return frozenset(suffix for plugin in PLUGINS if plugin.is_here for suffix in plugin.suffixes)


def lacking(plugin: PlugIn) -> str:
    """What is needed to read a picture of its format, in words."""
    return f"a {plugin.title} picture, which the package {plugin.package} reads: {_ADVICE}"


def lacking_in(walked: Collection[str], passed_over: Iterable[str]) -> str:
    """What a walk for pictures would need for more of them, in words; empty if nothing.

    walked, passed_over: the suffixes that it looked for, and those that it met and did not take.
    """
    if ".png" not in walked:
        return ""
    known = {suffix for plugin in PLUGINS for suffix in plugin.suffixes}
    met = sorted(known.intersection(passed_over))
    return f"for {' and '.join(met)}: {_ADVICE}" if met else ""
