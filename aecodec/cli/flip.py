"""``aecodec flip``: a page on which codecs are compared by eye, at one file size."""

from __future__ import annotations

from pathlib import Path

import click

from ..data.folders import counted
from .numbers import MANY, Real, Whole
from .output import bar, notice, say, tell_walk
from .writing import check_outputs


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder of the page.")
@click.option("--codecs", default="aec,avif", show_default=True, help="Names, with commas, as of `aecodec bench`.")
@click.option(
    "--bpp",
    "sizes",
    type=Real(0.001, 24),
    multiple=True,
    default=(0.25,),
    show_default=True,
    help="Size of the files in bits per pixel; may be repeated.",
)
@click.option("--metrics", default="psnr,ms-ssim", show_default=True, help="Names, with commas, as of `aecodec bench`.")
@click.option("--title", metavar="TEXT", help="Heading of the page; the folder's name unless given.")
@click.option("--limit", type=Whole(1, MANY), help="Only the first so many pictures.")
@click.option("--device", default="cpu", show_default=True, help="Where our models run.")
@click.option("-f", "--force", is_flag=True, help="Overwrite a page that exists.")
@click.option("--quiet", is_flag=True, help="No progress.")
def flip(
    data: Path,
    out: Path,
    codecs: str,
    sizes: tuple[float, ...],
    metrics: str,
    title: str | None,
    limit: int | None,
    device: str,
    force: bool,
    quiet: bool,
) -> int:
    """A page that shows the pictures of the folder DATA as several codecs keep them, in one place, at one file size.

    By name, or blind: then it hides which is which, asks, and tells the preference with its confidence interval. The
    page is OUT/index.html, needs no network, and can be passed on with its folder.
    """
    from ..bench.flip import PAGE_FILE, write_flip
    from ..bench.opening import codec_specs, metric_columns
    from ..bench.runs import find_pictures
    from ..data.folders import Walk
    from ..data.formats import picture_suffixes

    columns = metric_columns(metrics)
    walk = Walk(picture_suffixes(), recursive=False)
    pictures = find_pictures(data, limit, walk)
    page = out / PAGE_FILE
    check_outputs([(page, str(data))], overwrite=force, inputs=pictures, makes_folders=True)
    opened = [spec.open() for spec in codec_specs(codecs, (), device)]
    with bar("encoding", len(pictures) * len(sizes), quiet=quiet) as update:
        shown, left = write_flip(
            out,
            opened,
            pictures,
            sizes,
            columns,
            title=title or data.resolve().name,
            say=notice,
            advance=lambda: update(advance=1),
            overwrite=force,
        )
    if shown:
        say(f"{page}: {counted(shown, 'comparison')} of {', '.join(codec.name for codec in opened)}")
    return tell_walk(walk, int(left > 0))
