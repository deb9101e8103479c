"""``aecodec probe``: how much of the classes a model's code knows."""

from __future__ import annotations

import click

from ..contracts import UsageError
from .numbers import MANY, Real, Whole
from .output import say


@click.command()
@click.argument("model")
@click.argument("data")
@click.option("--test", "test_source", metavar="SOURCE", help="FILE.npz:x_test of the same file by default.")
@click.option("--labels", "count", type=Whole(1, MANY), help="So many labels, classes evenly; all by default.")
@click.option("--fine-tune", is_flag=True, help="Train the encoder as well; else it stays frozen under a linear probe.")
@click.option("--seeds", type=Whole(1, 10_000), default=1, show_default=True, help="Draws of the labels.")
@click.option("--penalty", type=Real(0, 1e9), default=1e-4, show_default=True, help="Of the probe's weights.")
def probe(
    model: str, data: str, test_source: str | None, count: int | None, fine_tune: bool, seeds: int, penalty: float
) -> None:
    """Error of a classifier on MODEL's code. DATA: FILE.npz[:x_train] with labels y_train beside it."""
    import numpy as np
    import torch

    from ..contracts import Autoencoder
    from ..data.arrays import as_float, read_array, read_labels, split_key
    from ..tasks import transfer
    from ..tasks.loading import load_for

    if fine_tune and count is None:
        raise UsageError("--fine-tune is for few labels; say how many with --labels")
    _, net = load_for("a probe", Autoencoder, model)
    test_source = test_source or f"{split_key(data)[0]}:x_test"
    x, asked = (as_float(torch.from_numpy(read_array(source))) for source in (data, test_source))
    y, truth = read_labels(data), read_labels(test_source)
    transfer.check_labels(y, truth)
    errors = []
    for seed in range(seeds):
        chosen = np.arange(len(x)) if count is None else transfer.few_labels(y, count, seed)
        if fine_tune:
            torch.manual_seed(seed)
            classes, indices = np.unique(y, return_inverse=True)
            tuned = transfer.Classifier(net, len(classes), frozen=False)
            transfer.fine_tune(tuned, x[chosen], indices[chosen], seed=seed)
            errors.append(transfer.error_rate(tuned.eval(), asked, np.searchsorted(classes, truth)))
        else:
            fitted = transfer.fit_probe(transfer.extract(net, x[chosen]), y[chosen], penalty=penalty)
            errors.append(fitted.error(transfer.extract(net, asked), truth))
    say(f"error {100 * np.mean(errors):.2f} % on {len(asked)} items, {len(chosen)} labels, {seeds} seed(s)")
