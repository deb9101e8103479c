"""Latents to integers and bytes and back, a file per codec family: NumPy alone, whatever computes the networks."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from ..contracts import CheckpointError

#: Family -> module and class of its coder, a `protocol.LatentCoder`.
CODERS = {
    "exact-hyperprior": ("exact_hyperprior", "ExactHyperpriorCoder"),
    "factorized-prior": ("factorized_prior", "FactorizedPriorCoder"),
    "mean-scale-hyperprior": ("mean_scale_hyperprior", "MeanScaleHyperpriorCoder"),
}


def coder_of(family: str, parts: Any, path: Path) -> Any:
    """The coder of a checkpoint's latents, its exactness proved. parts: `protocol.Parts`; path: for errors.

    Raises CheckpointError for a family that codes no pictures, for parts that are missing or do not fit, and for
    weights with which a sum could leave the range in which it is exact.
    """
    if family not in CODERS:
        raise CheckpointError(f"{path.stem} is a model of family {family}, which codes no pictures")
    module, name = CODERS[family]
    try:
        coder = getattr(import_module(f"{__name__}.{module}"), name)(parts)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its parts do not fit a {family} ({error})") from error
    coder.prove_exact()
    return coder
