"""``aecodec models``: which models there are, and how others get in."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..contracts import CheckpointError
from ..data.locks import WAIT
from .output import emit_json, fail, notice, say, size_text, wait_option
from .writing import check_outputs


@click.group()
def models() -> None:
    """List, show, locate, export and import models."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON line per model on stdout.")
def list_command(as_json: bool) -> int:
    """Models of the embedded zoo and of the cache; exit code 1 if a file there is none."""
    from ..zoo.registry import list_models

    unsound: list[CheckpointError] = []
    for record in list_models(unsound.append):
        if as_json:
            emit_json(record)
        else:
            say(f"{record['name']:<16} {record['family']:<22} {record['fingerprint']}  {size_text(record['bytes'])}")
    for error in unsound:
        fail(error, {} if as_json else None)
    return 1 if unsound else 0


@models.command()
@click.argument("model", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON line on stdout.")
def show(model: str | None, as_json: bool) -> None:
    """Configuration and card of MODEL (the default one if not given)."""
    from ..zoo.registry import find_model, read_header

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
        say(f"{key:<12} {record[key]}")
    for key in ("config", "card"):
        say(f"{key}:", *json.dumps(record[key], indent=2).splitlines())


@models.command()
@click.argument("model", required=False)
def path(model: str | None) -> None:
    """The file of MODEL (the default one if not given)."""
    from ..zoo.registry import find_model

    say(str(find_model(model)))


@models.command("export")
@click.argument("model", required=False)
@click.option("--onnx", is_flag=True, required=True, help="With the networks as ONNX graphs, which run without torch.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Checkpoint to write.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
def export_command(model: str | None, onnx: bool, output: Path, force: bool) -> None:
    """Write MODEL (the default one if not given) anew, with graphs derived from its weights.

    Its fingerprint stays: files of the one are files of the other.
    """
    from ..contracts import UsageError
    from ..engine.graphs import add_graphs
    from ..zoo.registry import find_model

    if not onnx:
        raise UsageError("--onnx is the one kind of export there is")
    source = find_model(model)
    check_outputs([(output, source.name)], overwrite=force, inputs=[source])
    names = add_graphs(source, output)
    say(f"{output}: {', '.join(names) or 'a family without graphs'}")


@models.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--family", help="The family expected; recognised from the weights by default.")
@click.option("--name", help="Name of the imported model; the file's own by default.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write it; the cache by default.")
@click.option("-f", "--force", is_flag=True, help="Overwrite a model of that name.")
@wait_option(WAIT)
def import_command(
    file: Path, family: str | None, name: str | None, output: Path | None, force: bool, wait: float
) -> None:
    """Import a state_dict of compressai's bmshj2018_factorized or mbt2018_mean.

    Without -o it goes into the cache, where compress -m NAME and decompress find it.
    """
    from ..data.files import make_folder
    from ..data.outputs import output_in
    from ..data.private import make_private
    from ..train.compressai_weights import import_state_dict, model_name
    from ..zoo.registry import SUFFIX, cache_folder

    name = name or model_name(file)
    target = output or output_in(cache_folder() / "models", f"{name}{SUFFIX}")
    check_outputs([(target, str(file))], overwrite=force, inputs=[file], makes_folders=True)
    if output is None:
        make_private(target.parent)
    make_folder(target.parent)
    done = import_state_dict(file, family, name, out=target, overwrite=force, wait=wait, say=notice)
    say(f"{done.path}: {done.name}, {done.family}, fingerprint {done.fingerprint.hex()}")
