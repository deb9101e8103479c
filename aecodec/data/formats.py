"""Which formats and which endings of names are pictures: Pillow's own list, and what plug-ins add to it."""

from __future__ import annotations

from PIL import Image

from .plugins import FORMATS, plugin_suffixes, register_plugins

#: Pillow's own formats that are opened, whatever a file is called. None of the others: EPS is a program for Ghostscript
#: to run, IPTC opens whatever it holds, WMF is drawn by one system alone, and some are documents, films or fields of
#: weather that Pillow itself cannot read.
# fmt: off
PICTURES = frozenset({
    "AVIF", "BLP", "BMP", "CUR", "DCX", "DDS", "DIB", "FITS", "FLI", "FTEX", "GBR", "GIF", "ICNS", "ICO", "IM",
    "IMT", "JPEG", "JPEG2000", "MCIDAS", "MPO", "MSP", "PCD", "PCX", "PIXAR", "PNG", "PPM", "PSD", "QOI", "SGI",
    "SPIDER", "SUN", "TGA", "TIFF", "WEBP", "XBM", "XPM", "XVTHUMB",
})
# fmt: on


def loaded_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read, in its order, as far as their readers are loaded by now: those of
    PICTURES, and what plug-ins of others have registered, which somebody has loaded on purpose. A plug-in of this
    package is none of them: an .aec file is no picture that could be compressed."""
    package = (__package__ or "").split(".")[0]
    return tuple(
        name
        for name in Image.ID
        if name in PICTURES or Image.OPEN[name][0].__module__.split(".")[0] not in ("PIL", package)
    )


def readable_formats() -> tuple[str, ...]:
    """The same with every reader of Pillow loaded, and after them those of the extra ``formats`` that are installed."""
    Image.init()
    register_plugins()
    return loaded_formats()


def picture_suffixes() -> frozenset[str]:
    """Endings of names, in lower case with the dot, that are taken for pictures when a folder is walked."""
    Image.init()
    readable = {*loaded_formats(), "MPO"} - FORMATS  # .mpo: opened as the JPEG that it begins as
    known = frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in readable)
    return known | plugin_suffixes()
