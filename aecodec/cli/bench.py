"""``aecodec bench`` and ``aecodec report``: curves of real files, and the page that shows them."""

from __future__ import annotations

from pathlib import Path

import click

from .numbers import MANY, Whole
from .output import bar, notice, say, tell_walk, wait_option
from .writing import check_outputs


class WithTables(click.Command):
    """A command whose help ends with the codecs and metrics that there are."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from ..bench.opening import spelled
        from ..bench.peers import PEERS
        from ..metrics import METRICS

        with formatter.section("Codecs"):
            formatter.write_dl([(name + peer.argument, peer.summary) for name, peer in PEERS.items()])
        with formatter.section("Metrics"):
            formatter.write_dl([(spelled(column), metric.summary) for column, metric in METRICS.items()])


@click.command(cls=WithTables)
@click.argument("data", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
@click.option("--codecs", default="aec,jpeg420,webp,avif", show_default=True, help="Names, with commas.")
@click.option(
    "--qualities",
    multiple=True,
    metavar="[CODEC=]Q,Q,...",
    help="Points of every codec of a 0 to 100 scale, or of one codec; may be repeated.",
)
@click.option("--metrics", default="psnr,ms-ssim", show_default=True, help="Names, with commas; psnr among them.")
@click.option("--anchor", help="Codec that the others are compared with; the last one unless given.")
@click.option("-j", "--jobs", type=Whole(1, 1024), default=1, show_default=True, help="Processes.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run; measures only what is missing.")
@wait_option(0.0)
@click.option("--limit", type=Whole(1, MANY), help="Only the first so many pictures.")
@click.option("--crops", type=Whole(0, MANY), default=2, show_default=True, help="Pictures to keep crops of.")
@click.option("--device", default="cpu", show_default=True, help="Where our models run.")
@click.option("--quiet", is_flag=True, help="No progress.")
def bench(
    data: Path,
    out: Path,
    codecs: str,
    qualities: tuple[str, ...],
    metrics: str,
    anchor: str | None,
    jobs: int,
    resume: bool,
    wait: float,
    limit: int | None,
    crops: int,
    device: str,
    quiet: bool,
) -> int:
    """Rate against distortion of codecs over the pictures of the folder DATA, from real files.

    OUT holds for each codec CODEC.csv (a row per picture and quality) and CODEC.json (where they come from), and
    summary.csv, bd_rate.md and crops; `aecodec report OUT` shows it. Codecs of libraries and programs can be measured
    where those are.
    """
    from ..bench import crops as crops_of
    from ..bench import opening, results, runs, summary
    from ..data.folders import Walk
    from ..data.formats import picture_suffixes

    specs = opening.codec_specs(codecs, qualities, device)
    columns = opening.metric_columns(metrics)
    walk = Walk(picture_suffixes(), recursive=False)
    pictures = runs.find_pictures(data, limit, walk)
    opened = [spec.open() for spec in specs]
    anchor = summary.check_anchor(anchor, specs, opened)
    total = sum(len(codec.qualities) for codec in opened) * len(pictures)
    with runs.only_run(out, wait=wait, say=notice):
        going_on = resume and results.is_run(out)
        files = summary.run_files(out, opened, pictures[:crops])
        runs.start(out, resume=resume)
        check_outputs(
            [(path, path.name) for path in files],
            overwrite=going_on,
            inputs=pictures,
            makes_folders=True,
            advice="and is not of a run; use another folder",
        )
        summary.keep_settings(out, data, anchor)
        with bar("measuring", total, quiet=quiet) as update:
            runner = runs.Runner(
                out, columns, resume=resume, jobs=jobs, say=notice, advance=lambda count: update(advance=count)
            )
            failures = sum(runner.run(spec, codec, pictures) for spec, codec in zip(specs, opened, strict=True))
        crops_of.make_crops(opened, pictures[:crops], out / results.CROPS_FOLDER, notice)
        say(*summary.summarise_run(out).splitlines())
    if failures:
        notice(f"{failures} of {total} measurements failed")
    return tell_walk(walk, 1 if failures else 0)


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="File to write.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["html", "md", "csv", "png"]),
    help="What to write; the ending of the file tells unless given.",
)
@click.option("--anchor", help="Codec that the others are compared with; the run's unless given.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the file if it exists.")
def report(runs: tuple[Path, ...], out: Path, kind: str | None, anchor: str | None, force: bool) -> None:
    """One page, table or plot of one or several runs of `aecodec bench`. The page needs no network."""
    from ..bench.report import write_report

    write_report(runs, out, kind, anchor=anchor, overwrite=force)
