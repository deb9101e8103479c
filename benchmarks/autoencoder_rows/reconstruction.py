"""Rows about reconstruction: linear AE against PCA, non-linear AE against PCA, and capacity without a purpose."""

from __future__ import annotations

import numpy as np
import torch

from aecodec.tasks.generate import sheet

from .running import Bench, Record, digits, filters, reconstruct, squared_error, write_png


def _pca(train: torch.Tensor, d: int) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's PCA of the training pictures -> components (d, pixels), mean (pixels,)."""
    from sklearn.decomposition import PCA

    fitted = PCA(d, svd_solver="covariance_eigh").fit(train.flatten(1).numpy())
    return fitted.components_, fitted.mean_


def _project(x: torch.Tensor, components: np.ndarray, mean: np.ndarray) -> torch.Tensor:
    basis, centre = torch.from_numpy(components).float(), torch.from_numpy(mean).float()
    flat = x.flatten(1) - centre
    return (flat @ basis.T @ basis + centre).view_as(x)


def linear(bench: Bench) -> None:
    """Angle between the linear autoencoder's subspace and PCA's, and the ratio of their squared errors, on MNIST."""
    train, _, test, _ = digits(bench)
    records: list[Record] = []
    shown = []
    for d, tied in ((2, True), (8, True), (32, True), (32, False)):
        model = bench.train(
            f"linear-{d}-{'tied' if tied else 'untied'}",
            "linear",
            bench.small("mnist"),
            model__latents=d,
            model__tied=tied,
            size="base" if tied else "untied",
        )
        components, mean = _pca(train, d)
        cosines = np.linalg.svd(components @ model.subspace().numpy(), compute_uv=False)
        errors = [squared_error(reconstruct(model, x), x) for x in (train, test)]
        ours = [squared_error(_project(x, components, mean), x) for x in (train, test)]
        records.append(
            {
                "d": d,
                "weights": "tied" if tied else "untied",
                "largest_angle_deg": float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1)))),
                "train_error": errors[0],
                "pca_train_error": ours[0],
                "ratio_train": errors[0] / ours[0],
                "ratio_test": errors[1] / ours[1],
            }
        )
        if d == 8:
            weights = filters(model.encoder.detach().T, (1, 28, 28))
            turned = model.subspace().float() @ (model.subspace().float().T @ torch.from_numpy(components).float().T)
            shown = [
                *weights,
                *filters(torch.from_numpy(components).float(), (1, 28, 28)),
                *filters(turned.T, (1, 28, 28)),
            ]
    bench.keep("linear", records)
    write_png(sheet(torch.stack(shown), 8), bench.out / "linear.png", 2)


def undercomplete(bench: Bench) -> None:
    """Test error of the non-linear autoencoder and of PCA at equal d, on MNIST and Fashion-MNIST."""
    records: list[Record] = []
    for name in ("mnist", "fashion_mnist"):
        train, _, test, _ = digits(bench, name)
        for d in (2, 8, 32):
            components, mean = _pca(train, d)
            baseline = _project(test, components, mean)
            kinds = ("mlp", "conv") if (name, d) == ("mnist", 8) else ("mlp",)
            for kind in kinds:
                model = bench.train(
                    f"undercomplete-{name}-{d}-{kind}",
                    "autoencoder",
                    bench.small(name),
                    model__latents=d,
                    model__kind=kind,
                    steps=1500,
                )
                x_hat = reconstruct(model, test)
                records.append(
                    {
                        "data": name,
                        "d": d,
                        "kind": kind,
                        "test_error": squared_error(x_hat, test),
                        "pca_test_error": squared_error(baseline, test),
                        "ratio": squared_error(x_hat, test) / squared_error(baseline, test),
                    }
                )
                if name == "mnist" and kind == "mlp" and d == 8:
                    page = sheet(torch.cat([test[:12], baseline[:12], x_hat[:12]]), 12)
                    write_png(page, bench.out / "undercomplete.png", 2)
    bench.keep("undercomplete", records)


def capacity(bench: Bench) -> None:
    """A code of one number and networks of ever more weights, on 1,000 digits: they learn the pictures by heart."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    train, _, test, _ = digits(bench)
    few = train[:1000]
    bench.runs.mkdir(parents=True, exist_ok=True)
    source = bench.runs / "mnist-1000.npz"
    np.savez(source, images=(few[:, 0] * 255).round().byte().numpy())
    components, mean = _pca(few, 1)
    baseline = {
        "train": squared_error(_project(few, components, mean), few),
        "test": squared_error(_project(test, components, mean), test),
    }
    records: list[Record] = [
        {"hidden": "PCA", "steps": "", "train_error": baseline["train"], "test_error": baseline["test"]}
    ]
    for hidden in ((8,), (256, 256, 256)):
        for steps in (100, 400, 1600, 3200):
            label = "-".join(map(str, hidden))
            model = bench.train(
                f"capacity-{label}-{steps}",
                "autoencoder",
                source,
                steps=steps,
                batch=100,
                hold_out=0,
                model__latents=1,
                model__hidden=list(hidden),
                ema=0.99,
                schedule="cosine",
            )
            records.append(
                {
                    "hidden": label,
                    "steps": steps,
                    "train_error": squared_error(reconstruct(model, few), few),
                    "test_error": squared_error(reconstruct(model, test), test),
                }
            )
    bench.keep("capacity", records)
    figure, axes = pyplot.subplots(figsize=(5, 3.2))
    for label in dict.fromkeys(r["hidden"] for r in records[1:]):
        rows = [r for r in records if r["hidden"] == label]
        (line,) = axes.plot([r["steps"] for r in rows], [r["test_error"] for r in rows], label=f"{label}, test")
        axes.plot([r["steps"] for r in rows], [r["train_error"] for r in rows], "--", color=line.get_color())
    axes.axhline(baseline["test"], color="grey", linewidth=0.8, label="PCA, test")
    axes.set(
        xscale="log", xlabel="steps", ylabel="squared error per digit", title="one latent, 1,000 digits (dashed: train)"
    )
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(bench.out / "capacity.png", dpi=90)
    pyplot.close(figure)
