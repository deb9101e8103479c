"""``aecodec models``: which models there are, and how others get in."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .output import emit_json, size_text


@click.group()
def models() -> None:
    """List, show, locate and import models."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON line per model on stdout.")
def list_command(as_json: bool) -> None:
    """Models of the embedded zoo and of the cache."""
    from ..inspection import list_models

    for record in list_models():
        if as_json:
            emit_json(record)
        else:
            click.echo(
                f"{record['name']:<16} {record['family']:<22} {record['fingerprint']}  {size_text(record['bytes'])}"
            )


@models.command()
@click.argument("model", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON line on stdout.")
def show(model: str | None, as_json: bool) -> None:
    """Configuration and card of MODEL (the default one if not given)."""
    from ..registry import find_model, read_header

    path = find_model(model)
    header = read_header(path)
    record = {
        "name": path.stem,
        "path": str(path),
        "family": header["family"],
        "fingerprint": header["fingerprint"].hex(),
        "config": header["config"],
        "card": header["card"],
    }
    if as_json:
        emit_json(record)
        return
    for key in ("name", "path", "family", "fingerprint"):
        click.echo(f"{key:<12} {record[key]}")
    for key in ("config", "card"):
        click.echo(f"{key}:\n{json.dumps(record[key], indent=2)}")


@models.command()
@click.argument("model", required=False)
def path(model: str | None) -> None:
    """The file of MODEL (the default one if not given)."""
    from ..registry import find_model

    click.echo(str(find_model(model)))


@models.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the imported model; the file's own by default.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write it; the cache by default.")
@click.option("-f", "--force", is_flag=True, help="Overwrite a model of that name.")
def import_command(file: Path, name: str | None, output: Path | None, force: bool) -> None:
    """Import a state_dict of compressai's bmshj2018_factorized or mbt2018_mean, or a checkpoint of ours."""
    from ..import_weights import import_model

    written, family, print_ = import_model(file, name=name, output=output, overwrite=force)
    click.echo(f"{written}: {family}, fingerprint {print_.hex()}")
