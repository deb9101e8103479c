"""Weights trained with compressai, made into checkpoints of this package.

A state dict of compressai's own bmshj2018-factorized or mbt2018-mean is recognised by its tensors' names and
shapes, its weights are taken over key for key, and tables are frozen anew by `checkpoint.save`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from .. import checkpoint
from ..coding.container import MAX_NAME
from ..contracts import CheckpointError, OutputExistsError
from ..data.locks import WAIT, Say, locked
from ..data.pickled import read_pickled
from ..data.records import shown
from ..engine.graphs import write_graphs
from ..models import family as find_family
from ..shield import shielded

#: compressai's name of each architecture that has a family here.
ARCHITECTURES = {"factorized-prior": "bmshj2018-factorized", "mean-scale-hyperprior": "mbt2018-mean"}

#: What wrappers of a model put before its tensors' names: DataParallel, torch.compile.
_PREFIXES = ("module.", "_orig_mod.")
#: Constants of the architecture and tables of compressai's own coder: made anew here.
_CONSTANT = re.compile(r"(^|\.)(pedestal|bound|target|scale_bound|scale_table|_offset|_quantized_cdf|_cdf_length)$")
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)
#: The bottleneck's lists of parameters were named otherwise in compressai's earlier releases.
_OLD_LIST = re.compile(r"(?<=entropy_bottleneck\.)_(matri|bias|factor)(?:x|ces|es|s)?\.?(\d+)$")
_LIST_NAMES = {"matri": "matrices", "bias": "biases", "factor": "factors"}


@dataclass(frozen=True)
class Imported:
    """What an import made: the checkpoint's path, name, family, configuration and 8-byte fingerprint."""

    path: Path
    name: str
    family: str
    config: dict[str, Any]
    fingerprint: bytes


@shielded()
def import_state_dict(
    path: Path,
    family: str | None = None,
    name: str | None = None,
    *,
    out: Path,
    overwrite: bool = False,
    wait: float = WAIT,
    say: Say = lambda message: None,
) -> Imported:
    """Read compressai weights (.pth, .pth.tar, .safetensors), write a checkpoint.

    family: the family expected, None to take what the weights are. name: of the model, None for the file's. wait, say:
    as of `locks.locked`, for another process that writes the same model.
    Raises CheckpointError for a file that is damaged or of another architecture (or another family than asked
    for), UnknownName for an unknown family, OutputExistsError, BusyError, OutputError, MissingDependencyError.
    """
    path, out = Path(path), Path(out)
    if family is not None:
        find_family(family)
        if family not in ARCHITECTURES:
            raise CheckpointError(
                f"compressai's weights cannot become a {family}; they can become: {', '.join(sorted(ARCHITECTURES))}"
            )
    with locked(out, wait=wait, say=say):
        return _import(path, family, name, out, overwrite)


def _import(path: Path, family: str | None, name: str | None, out: Path, overwrite: bool) -> Imported:
    """See `import_state_dict`; of the one process that writes there."""
    if out.exists() and not overwrite:
        raise OutputExistsError(f"{out}: exists (use --force to overwrite it)")
    weights = read_state_dict(path)
    found, sizes = detect(weights, path)
    if family is not None and family != found:
        raise CheckpointError(f"{path}: expected weights of {ARCHITECTURES[family]}, found {ARCHITECTURES[found]}")
    _, config_class = find_family(found).load()
    config = asdict(config_class(**sizes, fixed_medians=True))
    room = checkpoint.Room({key: value.numpy() for key, value in weights.items()})
    model = checkpoint.build(found, config, room)
    _fill(model, weights, path)
    name = name or model_name(path)
    card = {
        "architecture": ARCHITECTURES[found],
        "imported_from": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    print_ = checkpoint.save(model.eval(), out, name=name, family_name=found, card=card)
    write_graphs(out)
    return Imported(out, name, found, config, print_)


def model_name(path: Path) -> str:
    """The name a model gets from its file: without suffixes, and within what a file's header can hold."""
    stem = re.sub(r"(\.(pth|pt|tar|ckpt|safetensors))+$", "", path.name)
    return re.sub(r"[^A-Za-z0-9._-]", "-", stem)[:MAX_NAME] or "imported"


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """A state dict with its wrappers and its old names undone: name -> float32 CPU tensor, constants left out.

    Raises CheckpointError if the file is missing or damaged, holds anything but tensors, or a value in it is
    not finite. Pickled code is never run.
    """
    content = _read(path)
    if isinstance(content, Mapping) and "state_dict" in content:
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path}: expected a state dict (names and tensors), found {type(content).__name__}")
    weights = {}
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise CheckpointError(f"{path}: expected names and tensors, found {shown(key)}: {type(value).__name__}")
        if value.layout != torch.strided or not (value.is_floating_point() or value.dtype in _INTEGERS):
            raise CheckpointError(f"{path}: {shown(key)} is of type {value.dtype} and layout {value.layout}")
        key = _plain_name(key)
        if _CONSTANT.search(key):
            continue
        weights[key] = value.detach().float()
        if not bool(torch.isfinite(weights[key]).all()):
            raise CheckpointError(f"{path}: {key} holds values that are not finite")
    return weights


def _read(path: Path) -> Any:
    if path.suffix != ".safetensors":
        return read_pickled(path, CheckpointError)
    try:
        return load_file(path, device="cpu")
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except Exception as error:  # whatever safetensors raises of its own
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"{path}: not a file of weights ({reason or type(error).__name__})") from error


def _plain_name(key: str) -> str:
    while key.startswith(_PREFIXES):
        key = key.partition(".")[2]
    return _OLD_LIST.sub(lambda found: f"{_LIST_NAMES[found[1]]}.{found[2]}", key)


def detect(weights: Mapping[str, torch.Tensor], path: Path) -> tuple[str, dict[str, int]]:
    """Names and shapes -> (family, {"n": N, "m": M}). Raises CheckpointError for any other architecture."""
    first, last, gamma = (weights.get(f"g_a.{part}") for part in ("0.weight", "6.weight", "1.gamma"))
    if first is None or last is None or first.ndim != 4 or last.ndim != 4:
        raise _unknown(path, "there are no transforms g_a of four convolutions")
    if gamma is None:
        raise _unknown(path, "its transforms have no GDN")
    sizes = {"n": int(first.shape[0]), "m": int(last.shape[0])}
    if any(key.startswith("context_prediction.") for key in weights):
        raise _unknown(path, "it has an autoregressive context (mbt2018?)")
    parameters = weights.get("h_s.4.weight")
    if parameters is None:
        if any(key.startswith("h_") for key in weights):
            raise _unknown(path, "its hyperprior has no h_s of three convolutions")
        return "factorized-prior", sizes
    if parameters.shape[0] != 2 * sizes["m"]:
        raise _unknown(path, "its hyperprior predicts scales without means (bmshj2018-hyperprior?)")
    return "mean-scale-hyperprior", sizes


def _unknown(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path}: expected weights of {' or '.join(sorted(ARCHITECTURES.values()))}, but {why}")


def _fill(model: torch.nn.Module, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Copy the weights into the model. Raises CheckpointError unless names and shapes match one to one."""
    wanted = dict(model.named_parameters())
    for what, keys in (("lacks", wanted.keys() - weights.keys()), ("has unknown", weights.keys() - wanted.keys())):
        if keys:
            raise _unknown(path, f"it {what} {', '.join(sorted(keys)[:4])}{' ...' if len(keys) > 4 else ''}")
    with torch.no_grad():
        for key, parameter in wanted.items():
            if parameter.shape != weights[key].shape:
                raise _unknown(path, f"{key} has shape {tuple(weights[key].shape)}, not {tuple(parameter.shape)}")
            parameter.copy_(weights[key])
