"""Which formats and which endings of names are pictures: Pillow's own list, and what plug-ins have registered."""

from __future__ import annotations

from PIL import Image

#: What Pillow counts among its formats and is no raster picture: programs for a page, which would be run, documents,
#: films, drawings that one system alone can draw, and fields of weather and physics that Pillow itself cannot read.
NO_PICTURES = frozenset({"EPS", "PDF", "MPEG", "WMF", "BUFR", "GRIB", "HDF5"})


def readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read, in its order: its own, and those of plug-ins that are registered by
    now. A plug-in of this package is none of them: an .aec file is no picture that could be compressed."""
    Image.init()
    return tuple(
        name
        for name in Image.ID
        if name not in NO_PICTURES and not Image.OPEN[name][0].__module__.startswith(f"{__package__.split('.')[0]}.")
    )


def picture_suffixes() -> frozenset[str]:
    """Endings of names, in lower case with the dot, that are taken for pictures when a folder is walked."""
    readable = {*readable_formats(), "MPO"}  # .mpo: opened as the JPEG that it begins as
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in readable)
