"""Rewrites a checkpoint with its wide weights as int8 codes, in little more than half of its bytes.

    python scripts/as_codes.py MODEL.safetensors [--exact PATTERN]... [--base NAME] [--out OUT.safetensors]

Layers' weights are rounded to what codes can tell (aecodec/zoo/coded_weights.py), and the fingerprint is a new one;
scripts/calibrate.py fits the tables to the rounded model, and leaves it coded. With a base, which the model was tuned
from, codes tell what changed: the file needs it, in the zoo or the cache, wherever it is read, and is coded last, as
calibrating would write it whole. A second on one core.
"""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path

import click
import numpy as np

from aecodec.contracts import AecodecError, UsageError
from aecodec.zoo import stored
from aecodec.zoo.registry import find_model, read_header

#: What reads or gives the latents of the flagship: their channels are of very different sizes, which a row's one scale
#: is not fine enough for. On held-out crops rounding the linear ones costs 4 % of the rate, the others 0.9 %, and all
#: other layers together 0.06 %.
EXACT = ("*.linear.weight", "synthesis.enter.weight", "hyper_analysis.*")


def kept_exact(tensors: Collection[str], patterns: tuple[str, ...]) -> set[str]:
    """The tensors that are not to be rounded: all but layers' weights, those that have an integer form, and those that
    a pattern names."""
    return {
        name
        for name in tensors
        if not name.endswith(".weight")
        or f"{name}_q" in tensors
        or any(fnmatchcase(name, pattern) for pattern in patterns)
    }


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("model", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--exact",
    multiple=True,
    help=f"Tensors that are not to be rounded, * for any letters. Without a base: {', '.join(EXACT)}.",
)
@click.option("--base", help="Name of the model that it was tuned from.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to; the model's own file by default.")
def main(model: Path, exact: tuple[str, ...], base: str | None, out: Path | None) -> None:
    out = out or model
    try:
        whole = stored.read(model)
        if not any(array.dtype == np.float16 for array in whole.tensors.values()):
            raise UsageError(f"{model} holds no float16, which codes tell; --set half=true has a training write it")
        for pattern in exact:
            if not any(fnmatchcase(name, pattern) for name in whole.tensors):
                raise UsageError(f"{model} has no tensor {pattern}")
        patterns = exact or (() if base else EXACT)
        of_base = read_header(find_model(base))["fingerprint"] if base else b""
        print_ = stored.write(stored.as_codes(whole, kept_exact(whole.tensors, patterns), of_base), out)
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out}: {out.stat().st_size / 1e6:.2f} MB, fingerprint {print_.hex()}")


if __name__ == "__main__":
    main()
