"""``aecodec anomaly``: a threshold fitted to normal items, and files scored against it."""

from __future__ import annotations

from pathlib import Path

import click

from ..contracts import error_of
from .numbers import Real
from .output import emit_json, fail, say, tell_walk
from .writing import check_outputs


@click.group()
def anomaly() -> None:
    """Tell what is unlike the items that an autoencoder was trained on."""


@anomaly.command()
@click.argument("model")
@click.argument("normal")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Detector file (JSON).")
@click.option(
    "--false-alarms", type=Real(0, 0.999), default=0.05, show_default=True, help="Share of normal items above."
)
@click.option("--score", default="error", show_default=True, help="error, or surprise (minus the ELBO) of a VAE.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
def fit(model: str, normal: str, output: Path, false_alarms: float, score: str, force: bool) -> None:
    """Fit the threshold of MODEL to NORMAL: a folder of pictures or FILE.npz[:KEY], best not those trained on."""
    from ..contracts import Autoencoder
    from ..tasks import anomaly as task
    from ..tasks.loading import load_for, read_items

    check_outputs([(output, "the detector")], overwrite=force, inputs=[model, normal])
    frozen, net = load_for("anomaly detection", Autoencoder, model)
    detector = task.fit(net, read_items(net, normal), false_alarms, score)
    task.write_detector(detector, frozen, output, overwrite=force)
    say(f"{output}: threshold {detector.threshold:.6g} from {detector.normal_items} normal items")


@anomaly.command()
@click.argument("detector", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-m", "--model", type=click.Path(path_type=Path), help="File of the model, if it is in no zoo or cache.")
@click.option("--heat-maps", type=click.Path(path_type=Path), help="Folder for pictures of where the error lies.")
@click.option("-f", "--force", is_flag=True, help="Overwrite heat maps that exist.")
@click.option("--labels", type=click.Path(path_type=Path), help="CSV of FILE,normal or FILE,anomalous: adds the AUROC.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line per file.")
def score(
    detector: Path,
    files: tuple[Path, ...],
    model: Path | None,
    heat_maps: Path | None,
    force: bool,
    labels: Path | None,
    as_json: bool,
) -> int:
    """Score picture FILES (or all of a folder) with a DETECTOR."""
    from ..contracts import Autoencoder
    from ..data.files import make_folder
    from ..data.folders import Walk, list_photos
    from ..data.formats import picture_suffixes
    from ..data.images import Picture, write_picture
    from ..data.outputs import output_in
    from ..tasks.anomaly import heat_picture, read_detector, read_label_file, scores
    from ..tasks.loading import load_for, read_item
    from ..zoo.registry import find_fingerprint

    walk = Walk(picture_suffixes())
    paths = [path for given in files for path in (list_photos(given, walk) if given.is_dir() else [given])]
    maps = {} if heat_maps is None else {path: output_in(heat_maps, f"{path.stem}.png") for path in paths}
    check_outputs(
        [(target, str(path)) for path, target in maps.items()],
        overwrite=force,
        inputs=[detector, model, labels, *paths],
        makes_folders=True,
    )
    kept, fingerprint, name = read_detector(detector)
    known = read_label_file(labels) if labels is not None else {}
    _, net = load_for("anomaly detection", Autoencoder, find_fingerprint(fingerprint, name, model))
    found, codes = {}, []
    for path in paths:
        try:
            item = read_item(net, path)
            value = float(scores(net, item, kept.score)[0])
        except Exception as fault:
            codes.append(fail(error_of(str(path), fault), {"file": str(path)} if as_json else None))
            continue
        found[path] = value
        anomalous = value > kept.threshold
        if as_json:
            emit_json({"file": str(path), "score": value, "threshold": kept.threshold, "anomalous": anomalous})
        else:
            say(f"{'anomalous' if anomalous else 'normal':<9} {value:.6g}  {path}")
        if path in maps:
            make_folder(maps[path].parent)
            heat = Picture(heat_picture(net, item, path))
            write_picture(heat, maps[path], overwrite=force, sources=[path])
    if known:
        _report(found, known)
    return tell_walk(walk, (codes[0] if len(paths) == 1 else 1) if codes else 0)


def _report(found: dict[Path, float], known: dict[str, bool]) -> None:
    """AUROC and average precision over the files that the labels name."""
    import numpy as np

    from ..contracts import UsageError
    from ..metrics.detection import auroc, average_precision

    chosen = [(value, known[path.name]) for path, value in found.items() if path.name in known]
    values, truth = np.array([v for v, _ in chosen]), np.array([t for _, t in chosen], bool)
    try:
        say(f"AUROC {auroc(values, truth):.4f}, average precision {average_precision(values, truth):.4f}")
    except ValueError as error:
        raise UsageError(f"labels: {error}") from error
