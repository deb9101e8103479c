"""The table of model families: one file each, imported only when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ..contracts import UnknownName


@dataclass(frozen=True)
class Family:
    """Where a family lives: module, model class and config class (beside a table SIZES), and what it is used for.

    role: "codec" (a TileCodec), "hasher", or "autoencoder" (everything else that learns to reconstruct).
    A config field named ``shape`` is filled with that of the training items.
    """

    module: str
    model: str
    config: str
    summary: str
    role: str = "codec"

    def load(self) -> tuple[type, type]:
        """Import the family -> (model class, config class)."""
        module = import_module(f"{__name__}.{self.module}")
        return getattr(module, self.model), getattr(module, self.config)

    def sizes(self) -> dict[str, Any]:
        """Named configurations of the family."""
        return dict(import_module(f"{__name__}.{self.module}").SIZES)

    def recipe(self) -> dict[str, Any]:
        """Settings of a run that differ from the general defaults: RECIPE beside the model, if there is one."""
        return dict(getattr(import_module(f"{__name__}.{self.module}"), "RECIPE", {}))


FAMILIES: dict[str, Family] = {
    "exact-hyperprior": Family(
        "exact_hyperprior",
        "ExactHyperprior",
        "ExactHyperpriorConfig",
        "the flagship: one model for every rate, four-step context, exact integer scales",
    ),
    "factorized-prior": Family(
        "factorized_prior",
        "FactorizedPrior",
        "FactorizedPriorConfig",
        "Balle et al. 2018 without hyperprior (bmshj2018-factorized): one rate, one density per channel",
    ),
    "mean-scale-hyperprior": Family(
        "mean_scale_hyperprior",
        "MeanScaleHyperprior",
        "MeanScaleHyperpriorConfig",
        "Minnen et al. 2018 without context (mbt2018-mean): one rate, Gaussians with exact integer scales",
    ),
    "linear": Family(
        "linear",
        "Linear",
        "LinearConfig",
        "no non-linearity, tied or untied: learns the PCA subspace",
        role="autoencoder",
    ),
    "autoencoder": Family(
        "autoencoder",
        "Autoencoder",
        "AutoencoderConfig",
        "undercomplete, by layers or convolutions; denoising with model.noise",
        role="autoencoder",
    ),
    "sparse": Family("sparse", "Sparse", "SparseConfig", "overcomplete code with an L1 penalty", role="autoencoder"),
    "k-sparse": Family(
        "k_sparse",
        "KSparse",
        "KSparseConfig",
        "Makhzani and Frey 2013: the k largest units are kept",
        role="autoencoder",
    ),
    "restoration": Family(
        "restoration",
        "Restoration",
        "RestorationConfig",
        "denoising U-Net: noise, missing regions, missing resolution, missing colour",
        role="autoencoder",
    ),
    "vae": Family(
        "vae", "Vae", "VaeConfig", "Kingma and Welling 2014: Bernoulli or Gaussian likelihood, beta", role="autoencoder"
    ),
    "shape-vae": Family(
        "shape_vae", "ShapeVae", "ShapeVaeConfig", "VAE over part-segmented voxel shapes", role="autoencoder"
    ),
    "semantic-hash": Family(
        "semantic_hash",
        "SemanticHash",
        "SemanticHashConfig",
        "binary autoencoder with contrasted views: pictures to codes of 16 to 256 bits for search",
        role="hasher",
    ),
}


def family(name: str) -> Family:
    """Raises UnknownName, listing what exists."""
    try:
        return FAMILIES[name]
    except KeyError:
        raise UnknownName(f"no model family {name!r}; there are: {', '.join(sorted(FAMILIES))}") from None
