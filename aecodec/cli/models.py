"""``aecodec models``: which models there are, and how others get in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..contracts import CheckpointError
from ..data.locks import WAIT
from .numbers import MANY, Whole, parse_counts, parse_levels
from .output import bar, emit_json, fail, notice, say, size_text, wait_option
from .writing import check_outputs

if TYPE_CHECKING:
    import numpy as np


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


def _target(name: str, output: Path | None, force: bool, label: str, inputs: list[Path]) -> Path:
    """Where a model of a name is written, the cache unless told otherwise. label: what it is made of, for errors."""
    from ..data.outputs import output_in
    from ..zoo.registry import SUFFIX, cache_folder

    target = output or output_in(cache_folder() / "models", f"{name}{SUFFIX}")
    check_outputs([(target, label)], overwrite=force, inputs=inputs, makes_folders=True)
    return target


def _make_room(target: Path, output: Path | None) -> None:
    """Its folder, which is nobody else's where it is the cache."""
    from ..data.files import make_folder
    from ..data.private import make_private

    if output is None:
        make_private(target.parent)
    make_folder(target.parent)


@models.command("hasher")
@click.argument("file", metavar="ONNX", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--fit", "photos", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="Photographs."
)
@click.option("--bits", type=Whole(8, 1024), default=256, show_default=True, help="Of the longest code.")
@click.option(
    "--rotation",
    type=click.Choice(["itq", "random"]),
    default="itq",
    show_default=True,
    help="Fitted to the photographs, or drawn.",
)
@click.option("--seed", type=Whole(0, 65535), default=0, show_default=True, help="Of what is drawn.")
@click.option("--side", type=Whole(8, 1024), help="Side of pictures where the model leaves it open; 224.")
@click.option("--mean", help="Taken from the levels, per channel; ImageNet's.")
@click.option("--std", "deviation", help="Levels are then divided by it; ImageNet's.")
@click.option("--range", "range_", type=click.Choice(["1", "255"]), default="1", show_default=True, help="White.")
@click.option("--bgr", is_flag=True, help="Blue before red.")
@click.option("--features", help="The output that is taken, by name; the first unless given.")
@click.option("--limit", type=Whole(2, MANY), default=5000, show_default=True, help="Photographs at most.")
@click.option("--name", help="Name of the hasher; the file's own by default.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write it; the cache by default.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
@click.option("--quiet", is_flag=True, help="No progress.")
def hasher_command(
    file: Path,
    photos: Path,
    bits: int,
    rotation: str,
    seed: int,
    side: int | None,
    mean: str | None,
    deviation: str | None,
    range_: str,
    bgr: bool,
    features: str | None,
    limit: int,
    name: str | None,
    output: Path | None,
    force: bool,
    quiet: bool,
) -> None:
    """Make a hasher of a feature extractor in ONNX: its features centred and turned, the signs taken.

    What it writes is one file that holds the model as well, for --hasher everywhere. Without -o it goes into the cache,
    where --hasher NAME finds it.
    """
    from ..coding.header import is_model_name
    from ..contracts import UsageError
    from ..data.folders import list_photos
    from ..engine.fitting import IMAGENET, Taking, make_hasher
    from ..zoo.registry import SUFFIX

    name = name or file.stem
    if not is_model_name(name):
        raise UsageError(f"{name!r} is no name for a model; give one by --name")
    if bits % 8:
        raise UsageError(f"codes are of whole bytes, not of {bits} bits")
    target = _target(name, output, force, str(file), [file])
    if target.suffix != SUFFIX:
        raise UsageError(f"{target}: hashers are kept in files that end in {SUFFIX}")
    centre = parse_levels(mean, "--mean") if mean else IMAGENET[0]
    divisor = parse_levels(deviation, "--std") if deviation else IMAGENET[1]
    paths = list_photos(photos)[:limit]
    taking = Taking(side, centre, divisor, int(range_), bgr, features)
    with bar("fitting", len(paths), quiet=quiet) as update:
        squares = _squares(paths, lambda count: update(advance=count))
        _make_room(target, output)
        made = make_hasher(file, squares, target, taking=taking, name=name, bits=bits, rotation=rotation, seed=seed)
    shape = " x ".join(map(str, made.config["shape"]))
    say(f"{target}: {name}, {bits} bits of {shape} {made.config['layout']}, fingerprint {made.fingerprint.hex()}")


def _squares(paths: list[Path], advance: Callable[[int], None]) -> Callable[[int, int], Iterator[np.ndarray]]:
    """Pictures as an extractor takes them; those that cannot be read are told and left out."""

    def squares(side: int, channels: int) -> Iterator[np.ndarray]:
        import numpy as np

        from ..contracts import ImageReadError
        from ..data.reduced import read_reduced
        from ..data.thumbnails import square_thumbnail

        for path in paths:
            try:
                yield square_thumbnail(read_reduced(path, 3 * side).pixels, side, channels)[np.newaxis]
            except ImageReadError as error:
                notice(f"left out: {error}")
            advance(1)

    return squares


@models.command("join")
@click.argument("hashers", nargs=-1, required=True, metavar="HASHER...")
@click.option("--bits", required=True, help="Of each, the first so many: 128,128.")
@click.option("--name", required=True, help="Name of the hasher.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write it; the cache by default.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
def join_command(hashers: tuple[str, ...], bits: str, name: str, output: Path | None, force: bool) -> None:
    """Make one hasher of several: the first bits of each, one after another.

    What it writes is one file that holds them all, for --hasher everywhere. Without -o it goes into the cache, where
    --hasher NAME finds it.
    """
    from ..coding.header import is_model_name
    from ..contracts import UsageError
    from ..engine.hashing import open_hash_network
    from ..engine.joined import join
    from ..zoo import stored
    from ..zoo.registry import SUFFIX, find_model

    if not is_model_name(name):
        raise UsageError(f"{name!r} is no name for a model")
    paths = [find_model(hasher) for hasher in hashers]
    target = _target(name, output, force, name, paths)
    if target.suffix != SUFFIX:
        raise UsageError(f"{target}: hashers are kept in files that end in {SUFFIX}")
    for path in paths:
        open_hash_network(path)  # raises for a model that is no hasher, or is damaged
    made = join([stored.read(path) for path in paths], parse_counts(bits, "--bits"), name)
    _make_room(target, output)
    print_ = stored.write(made, target)
    say(f"{target}: {name}, {bits.replace(',', ' + ')} bits, fingerprint {print_.hex()}")


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
    from ..train.compressai_weights import import_state_dict, model_name

    name = name or model_name(file)
    target = _target(name, output, force, str(file), [file])
    _make_room(target, output)
    done = import_state_dict(file, family, name, out=target, overwrite=force, wait=wait, say=notice)
    say(f"{done.path}: {done.name}, {done.family}, fingerprint {done.fingerprint.hex()}")
