"""Rewrites a checkpoint as what changed from another, in half the bytes: for models tuned from an embedded one.

    python scripts/as_changes.py TUNED.safetensors --base photo [--exact TENSOR]... [--out OUT.safetensors]

Weights are rounded to what int8 differences can tell (aecodec/zoo/changes.py), and the fingerprint is a new one. The
file needs its base, in the zoo or the cache, wherever it is read. A second on one core.
"""

from __future__ import annotations

from pathlib import Path

import click

from aecodec.contracts import AecodecError, UsageError
from aecodec.zoo import stored
from aecodec.zoo.registry import find_model, read_header


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("model", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--base", required=True, help="Name of the model that it was tuned from.")
@click.option("--exact", multiple=True, help="A tensor that is not to be rounded, such as synthesis.linear.weight.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to; the model's own file by default.")
def main(model: Path, base: str, exact: tuple[str, ...], out: Path | None) -> None:
    out = out or model
    try:
        whole = stored.read(model)
        if unknown := sorted(set(exact) - whole.tensors.keys()):
            raise UsageError(f"{model} has no tensor {', '.join(unknown)}")
        print_ = stored.write(stored.as_changes(whole, read_header(find_model(base))["fingerprint"], exact), out)
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out}: {out.stat().st_size / 1e6:.2f} MB, fingerprint {print_.hex()}")


if __name__ == "__main__":
    main()
