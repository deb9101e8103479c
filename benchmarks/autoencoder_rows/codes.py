"""Rows about the code: sparsity, k-sparse features under a linear probe, and transfer to few labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from aecodec import checkpoint
from aecodec.tasks.generate import sheet
from aecodec.tasks.transfer import Classifier, error_rate, extract, few_labels, fine_tune, fit_probe

from .running import Bench, Record, digits, filters, reconstruct, squared_error, write_png

#: Weights of the probe's penalty that are tried; the last 10,000 training digits choose.
PENALTIES = (1e-4, 1e-3, 3e-3, 1e-2)


def _probe_error(model: Any, data: tuple[torch.Tensor, np.ndarray, torch.Tensor, np.ndarray]) -> Record:
    """The test error in per cent of a linear probe on all training digits, and the penalty it was fitted with."""
    train, y_train, test, y_test = data
    seen, asked = (
        (train.flatten(1), test.flatten(1)) if model is None else (extract(model, train), extract(model, test))
    )
    cut = len(seen) * 5 // 6

    def held_error(penalty: float) -> float:
        probe = fit_probe(seen[:cut], y_train[:cut], penalty=penalty, iterations=60)
        return probe.error(seen[cut:], y_train[cut:])

    penalty = min(PENALTIES, key=held_error)
    probe = fit_probe(seen, y_train, penalty=penalty, iterations=100)
    return {"probe_error_percent": 100.0 * probe.error(asked, y_test), "penalty": penalty}


def sparse(bench: Bench) -> None:
    """Share of active units and the probe's error against lambda; raw pixels beside them."""
    data = digits(bench)
    records: list[Record] = [{"model": "raw pixels", **_probe_error(None, data)}]
    for value in (0.0, 0.03, 0.1, 0.3, 1.0):
        model = bench.train(f"sparse-{value:g}", "sparse", bench.small("mnist"), model__sparsity=value)
        codes = extract(model, data[2])
        records.append(
            {
                "model": "sparse",
                "lambda": value,
                "active_share": float((codes > 0).float().mean()),
                "l1_norm": float(codes.sum(1).mean()),
                "test_error": squared_error(reconstruct(model, data[2]), data[2]),
                **_probe_error(model, data),
            }
        )
        if value == 0.3:
            busiest = codes.gt(0).float().mean(0).argsort(descending=True)[:100]
            shown = filters(model.filters.detach()[busiest], (1, 28, 28))
            write_png(sheet(shown, 20), bench.out / "sparse.png", 1)
    bench.keep("sparse", records)


def k_sparse(bench: Bench) -> None:
    """Makhzani and Frey 2013, table 2: 1,000 units, k = 25, a linear probe on the codes of MNIST."""
    data = digits(bench)
    records: list[Record] = [{"model": "raw pixels", **_probe_error(None, data)}]
    model = bench.train("k-sparse", "k-sparse", bench.small("mnist"))
    with torch.no_grad():
        used = (model.encode(data[0][:20000]) != 0).float().mean(0)
    records.append(
        {
            "model": "k-sparse",
            "k": model.config.active,
            "units_used": int((used > 0).sum()),
            "test_error": squared_error(reconstruct(model, data[2]), data[2]),
            **_probe_error(model, data),
        }
    )
    shown = filters(model.filters.detach()[used.argsort(descending=True)[:100]], (1, 28, 28))
    write_png(sheet(shown, 20), bench.out / "k-sparse.png", 1)
    bench.keep("k-sparse", records, published="1.35 % (Makhzani and Frey 2013, k = 25, unsupervised)")


def transfer(bench: Bench) -> None:
    """Error with few labels: the encoder pretrained on unlabelled digits, fine-tuned or frozen, and from scratch."""
    train, y_train, test, y_test = digits(bench)
    model = bench.train(
        "transfer",
        "autoencoder",
        bench.small("mnist"),
        steps=6000,
        schedule="cosine",
        model__latents=500,
        model__noise=0.7,
        model__hidden=[1000],
    )
    records: list[Record] = []
    for count in (100, 600, 1000):
        found: dict[str, list[float]] = {"scratch": [], "fine-tuned": [], "frozen": [], "pixel probe": []}
        for seed in range(5):
            chosen = few_labels(y_train, count, seed)
            x, y = train[chosen], y_train[chosen]
            torch.manual_seed(seed)
            fresh = checkpoint.build("autoencoder", dict(vars(model.config)))
            for kind, start in (("scratch", fresh), ("fine-tuned", model)):
                classifier = Classifier(start, 10, frozen=False)
                fine_tune(classifier, x, y, steps=300, learning_rate=3e-4, noise=0.3, seed=seed)
                found[kind].append(100 * error_rate(classifier.eval(), test, y_test))
            probe = fit_probe(extract(model, x), y, penalty=0.01)
            found["frozen"].append(100 * probe.error(extract(model, test), y_test))
            pixels = fit_probe(x.flatten(1), y, penalty=0.1)
            found["pixel probe"].append(100 * pixels.error(test.flatten(1), y_test))
        for kind, errors in found.items():
            records.append(
                {
                    "labels": count,
                    "classifier": kind,
                    "error_percent": float(np.mean(errors)),
                    "standard_deviation": float(np.std(errors, ddof=1)),
                    "seeds": len(errors),
                }
            )
    bench.keep("transfer", records)
    _draw_transfer(bench, records)


def _draw_transfer(bench: Bench, records: list[Record]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(4.5, 3))
    for kind in dict.fromkeys(r["classifier"] for r in records):
        rows = [r for r in records if r["classifier"] == kind]
        axes.errorbar(
            [r["labels"] for r in rows],
            [r["error_percent"] for r in rows],
            [r["standard_deviation"] for r in rows],
            marker="o",
            capsize=3,
            label=kind,
        )
    axes.set(xscale="log", xlabel="labels", ylabel="test error, %", title="MNIST with few labels")
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(bench.out / "transfer.png", dpi=90)
    pyplot.close(figure)
