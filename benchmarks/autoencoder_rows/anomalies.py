"""Rows about anomaly detection: one class of MNIST, and one of Caltech-101, against all the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from aecodec.data.arrays import as_float
from aecodec.data.folders import list_photos
from aecodec.data.resized import read_folder, read_items
from aecodec.metrics.detection import auroc, average_precision, roc_curve
from aecodec.tasks.anomaly import fit, heat_picture, scores
from aecodec.tasks.generate import sheet
from aecodec.tasks.restore import to_batch

from .running import Bench, Record, digits, write_png

#: Means over the ten classes, from the literature.
PUBLISHED_MNIST = "OC-SVM 0.91, Deep SVDD 0.948 (Ruff et al. 2018, mean over digits)"
CALTECH = {"Motorbikes": "motorbikes", "watch": "watch", "airplanes": "airplanes"}
#: Classes of at least 30 pictures besides those, on which the view is chosen.
VIEW_CLASSES = ("Faces_easy", "Leopards", "car_side", "bonsai", "ketch")


def _pca_scores(normal: torch.Tensor, asked: torch.Tensor, d: int) -> np.ndarray:
    """Squared distance to the PCA subspace of the normal items: the linear baseline."""
    flat = normal.flatten(1)
    mean = flat.mean(0)
    basis = torch.linalg.svd(flat - mean, full_matrices=False)[2][:d]
    rest = asked.flatten(1) - mean
    return (rest.square().sum(1) - (rest @ basis.T).square().sum(1)).numpy()


def mnist(bench: Bench) -> None:
    """AUROC of one digit against the nine others over the whole test set, ten times: PCA and the autoencoder."""
    train, y_train, test, y_test = digits(bench)
    records: list[Record] = []
    curves = []
    for digit in range(10):
        model = mnist_model(bench, digit)
        ours = scores(model, test).numpy()
        pca = _pca_scores(train[y_train == digit], test, 24)
        strange = y_test != digit
        records.append(
            {
                "class": digit,
                "auroc": auroc(ours, strange),
                "ap": average_precision(ours, strange),
                "pca_auroc": auroc(pca, strange),
                "pca_ap": average_precision(pca, strange),
            }
        )
        curves.append((str(digit), *roc_curve(ours, strange)))
    mean = {key: float(np.mean([record[key] for record in records])) for key in records[0] if key != "class"}
    records.append({"class": "mean", **mean})
    bench.keep("anomaly-mnist", records, published=PUBLISHED_MNIST)
    _draw_curves(bench, "anomaly-mnist", curves)


def mnist_model(bench: Bench, digit: int) -> Any:
    """The detector's autoencoder of one digit."""
    return bench.train(
        f"anomaly-mnist-{digit}",
        "autoencoder",
        bench.small("mnist"),
        only=digit,
        hold_out=500,
        steps=1200,
        batch=128,
        model__latents=32,
        model__hidden=[512],
        model__noise=0.7,
        schedule="cosine",
        half=True,
    )


def caltech(bench: Bench) -> None:
    """AUROC of motorbikes, watches and airplanes against all other classes of Caltech-101: PCA and the autoencoder."""
    folder = bench.data / "caltech101_subset"
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    records: list[Record] = []
    curves = []
    pages = []
    for name, label in CALTECH.items():
        model, normal = caltech_model(bench, name, label)
        others = torch.from_numpy(
            np.concatenate([read_folder(folder / other, 64, "gradients") for other in classes if other != name])
        )
        train, held = normal
        asked = torch.cat([held, others])
        strange = np.arange(len(asked)) >= len(held)
        ours, pca = scores(model, asked).numpy(), _pca_scores(train, asked, 24)
        detector = fit(model, held, 0.1)
        caught = float((ours[strange] > detector.threshold).mean())
        records.append(
            {
                "class": label,
                "normal_train": len(train),
                "normal_test": len(held),
                "others": len(others),
                "auroc": auroc(ours, strange),
                "ap": average_precision(ours, strange),
                "pca_auroc": auroc(pca, strange),
                "caught_at_10_percent_false_alarms": caught,
            }
        )
        curves.append((label, *roc_curve(ours, strange)))
        shown = [list_photos(folder / name)[0], list_photos(folder / "bonsai")[0], list_photos(folder / "ketch")[0]]
        for path in shown:
            item = torch.from_numpy(read_items([path], 64, "gradients"))
            pages.append(to_batch(heat_picture(model, item, path))[0])
    bench.keep("anomaly-caltech", records)
    _draw_curves(bench, "anomaly-caltech", curves)
    write_png(sheet(torch.stack(pages), 3), bench.out / "anomaly-heat.png")


def view(bench: Bench) -> None:
    """Which view of a picture suits detection: AUROC of PCA on five other classes, without any picture of the three."""
    folder = bench.data / "caltech101_subset"
    names = [path.name for path in sorted(folder.iterdir()) if path.is_dir() and path.name not in CALTECH]
    records: list[Record] = []
    for kind, side in (("colour", 32), ("grey", 32), ("grey", 64), ("gradients", 64)):
        items = {name: as_float(torch.from_numpy(read_folder(folder / name, side, kind))) for name in names}
        found = {name: _cross_validated(name, items) for name in VIEW_CLASSES}
        records.append({"view": kind, "side": side, **found, "mean": float(np.mean(list(found.values())))})
    bench.keep("anomaly-view", records, components=8, folds=5)


def _cross_validated(name: str, items: dict[str, torch.Tensor]) -> float:
    """Mean AUROC over five folds of a class against all others, PCA with 8 components."""
    own, others = items[name], torch.cat([value for key, value in items.items() if key != name])
    fold = np.random.default_rng(0).permutation(len(own)) % 5
    found = []
    for number in range(5):
        asked = torch.cat([own[fold == number], others])
        strange = np.arange(len(asked)) >= int((fold == number).sum())
        found.append(auroc(_pca_scores(own[fold != number], asked, 8), strange))
    return float(np.mean(found))


def caltech_model(bench: Bench, name: str, label: str) -> tuple[Any, tuple[torch.Tensor, torch.Tensor]]:
    """The model of one class, trained on four fifths of its pictures, and (train, held-out) pictures."""
    source = bench.runs / f"caltech-{label}.npz"
    paths = list_photos(bench.data / "caltech101_subset" / name)
    order = np.random.default_rng(0).permutation(len(paths))
    cut = len(paths) // 5
    parts = ([paths[i] for i in sorted(part)] for part in (order[:cut], order[cut:]))
    held, train = (read_items(part, 64, "gradients") for part in parts)
    bench.runs.mkdir(parents=True, exist_ok=True)
    np.savez(source, items=train)
    model = bench.train(
        f"anomaly-{label}",
        "autoencoder",
        source,
        name_of_model=label,
        hold_out=0,
        steps=1000,
        batch=64,
        model__latents=24,
        model__hidden=[256],
        model__noise=0.05,
        schedule="cosine",
        half=True,
    )
    return model, (torch.from_numpy(train), torch.from_numpy(held))


def _draw_curves(bench: Bench, name: str, curves: list[tuple[str, np.ndarray, np.ndarray]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(4, 4))
    for label, false, true in curves:
        axes.plot(false, true, linewidth=1, label=label)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
    axes.set(xlabel="false alarms", ylabel="anomalies found", aspect="equal")
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(bench.out / f"{name}.png", dpi=80)
    pyplot.close(figure)
