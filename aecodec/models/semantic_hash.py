"""The family `semantic-hash`: a binary autoencoder whose codes bring pictures of one kind near each other.

A convolutional encoder gives one logit for each bit; noise before the sigmoid, a threshold with a straight-through
gradient and balanced bits make the code binary (Salakhutdinov and Hinton 2009, "Semantic hashing"; Li and van Gemert
2021, "Deep unsupervised image hashing by maximizing bit entropy"). A decoder reconstructs the picture from it, and two
augmented views of a picture are contrasted with the rest of the batch (Qiu et al. 2021, "Unsupervised hashing with
contrastive information bottleneck"). Each term has its weight in the configuration. Labels take no part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from ..contracts import BatchSource, CheckpointError, Loss
from ..nn.backbone import PREFIX, Backbone
from ..nn.binary import correlation, kl_to_fair_coin, masked, sampled_codes
from ..nn.contrast import mutual_neighbours, nt_xent, relation_loss
from ..nn.hashing import Decoder, Encoder
from ..nn.patches import SMALLEST, PatchFeatures
from ..nn.taught import split, split_vectors
from ..nn.trunk import STAGES, Trunk
from ..nn.views import RECIPES, disjoint_halves, random_view


@dataclass(frozen=True)
class SemanticHashConfig:
    """What a hasher is and how it is trained.

    shape: (C, H, W) of the pictures that are hashed; training items may be larger, views are cut from them.
    n_bits: length of the code; prefixes: shorter codes trained beside it, each the beginning of the whole one.
    widths: channels of the encoder's stages; strides: by how much each shrinks the sides, 2 (a 3x3 convolution, the
    default) or more (one as wide as its stride); blocks: residual blocks in each.
    trunk_blocks: the first stages of EfficientNet-Lite0 with so many blocks each (nn.trunk), instead of widths;
    trunk_weights: file of weights to begin with; frozen: so many of its stages are not trained.
    features: width of the layer before the bits; decoder: channels of the decoder, 0 for none.
    patches: words of a dictionary of patches (nn.patches) in place of widths, fixed; patch_axes: as many features;
    patch_mirrored: the same for a mirror image; patch_weights: the dictionary's file (scripts/teach_neighbours.py).
    backbone: "timm:NAME", a frozen feature extractor instead of the encoder; backbone_weights: its file, or "cache".
    views: a recipe of nn.views; first_views: another one for the first of the two views, if not the same.
    noise: standard deviation of what is added to the logits; bi_half: each bit balanced over the batch;
    straight_through: train on the bits themselves, not on their probabilities.
    temperature, relation_temperature: of the contrast, and of the relations.
    neighbours: so many of the nearest pictures of the batch count as the same, nearest by neighbours_of ("codes",
    "features" of the encoder, "pixels", the "teacher"), once the share neighbours_from of the training is done.
    mask: share of the features that is set to zero, at random in each view (Gao, Yao and Chen 2021, "SimCSE").
    halves: this share of the batch is made of halves of its pictures, which count as different pictures.
    teacher: so many features of a teacher come with each picture (nn.taught).
    stored_views: items are no pictures, but so many views of each, the first of them by first_views, as the frozen
    stages leave them, and the teacher's features (scripts/store_views.py).
    contrast, relation, reconstruction, kl, decorrelation: weights of the terms of the loss; relation: that the whole
    codes of two pictures are as similar as the teacher's features of them.
    """

    shape: tuple[int, ...] = (3, 64, 64)
    n_bits: int = 64
    prefixes: tuple[int, ...] = (16, 32)
    widths: tuple[int, ...] = (32, 64, 128)
    strides: tuple[int, ...] = ()
    blocks: tuple[int, ...] = (1, 1, 1)
    trunk_blocks: tuple[int, ...] = ()
    trunk_weights: str = ""
    frozen: int = 0
    features: int = 256
    decoder: int = 32
    patches: int = 0
    patch_axes: int = 512
    patch_mirrored: bool = False
    patch_weights: str = ""
    backbone: str = ""
    backbone_weights: str = ""
    views: str = "objects"
    first_views: str = ""
    noise: float = 0.3
    bi_half: bool = True
    straight_through: bool = True
    temperature: float = 0.3
    relation_temperature: float = 0.1
    neighbours: int = 0
    neighbours_of: str = "codes"
    neighbours_from: float = 0.2
    mask: float = 0.0
    halves: float = 0.0
    teacher: int = 0
    stored_views: int = 0
    contrast: float = 1.0
    relation: float = 0.0
    reconstruction: float = 1.0
    kl: float = 0.0
    decorrelation: float = 0.0

    @property
    def fixed(self) -> bool:
        """Whether nothing below the head is trained; features that pictures were given before are items as well."""
        return bool(self.backbone or self.patches)

    def __post_init__(self) -> None:
        lengths = (*self.prefixes, self.n_bits)
        if any(bits < 8 or bits % 8 for bits in lengths) or list(lengths) != sorted(set(lengths)):
            raise ValueError(f"code lengths must be multiples of 8 that rise, got {lengths}")
        if len(self.shape) != 3 or min(self.shape) < 1 or self.shape[0] not in (1, 3):
            raise ValueError(f"pictures of 1 or 3 channels (C, H, W) are hashed, got shape {self.shape}")
        for views in (self.views, self.first_views or self.views):
            if views not in RECIPES:
                raise ValueError(f"no views {views!r}; there are: {', '.join(RECIPES)}")
        if self.neighbours_of not in ("codes", "features", "pixels", "teacher"):
            raise ValueError(f"neighbours are those of codes, features, pixels or teacher, got {self.neighbours_of!r}")
        if self.neighbours and self.neighbours_of == "teacher" and (self.halves or not self.teacher):
            raise ValueError("neighbours of the teacher need one, teacher must be set, and whole pictures, no halves")
        if self.patches < 0 or self.patch_axes < 1 or bool(self.patches) + bool(self.trunk_blocks or self.backbone) > 1:
            raise ValueError("patches, of one axis or more, have neither a trunk nor a backbone beside them")
        if self.patches and min(self.shape[1:]) < SMALLEST:
            raise ValueError(f"pictures of shape {self.shape} have sides below the {SMALLEST} pixels that patches need")
        if not 0 <= self.mask < 1:
            raise ValueError(f"a share of the features is masked, got {self.mask}")
        if not len(self.widths) == len(self.blocks) == len(self.strides or self.widths) > 0:
            raise ValueError(
                f"widths {self.widths}, strides {self.strides} and blocks {self.blocks} must name the same stages"
            )
        trunk = self.trunk_blocks
        if trunk and (len(trunk) > len(STAGES) or min(trunk) < 1 or self.shape[0] != 3):
            raise ValueError(f"a trunk has 1 to {len(STAGES)} stages of at least one block, and takes 3 channels")
        if trunk and min(self.shape[1:]) <= 2 * math.prod(stage[1] for stage in STAGES[: len(trunk)]):
            raise ValueError(f"pictures of shape {self.shape} are too small for a trunk of {len(trunk)} stages")
        if trunk and not 0 <= self.frozen < len(trunk):
            raise ValueError(f"at most {len(trunk) - 1} of {len(trunk)} stages are frozen, got {self.frozen}")
        if self.stored_views and (self.stored_views < 2 or not self.frozen or self.halves or self.decoder):
            raise ValueError("stored views are at least 2, of frozen stages, and have neither halves nor a decoder")
        if bool(self.relation) and not self.teacher:
            raise ValueError("relations are a teacher's, whose features come with the pictures: teacher must be set")
        if not 0 <= self.halves <= 1:
            raise ValueError(f"halves is a share of the batch, got {self.halves}")
        if not self.decoder and self.reconstruction:
            raise ValueError("reconstruction needs a decoder")
        if self.backbone and not self.backbone.startswith(PREFIX):
            other = "; `aecodec models hasher` takes extractors in ONNX" if self.backbone.startswith("onnx:") else ""
            raise ValueError(f"a backbone is named {PREFIX}NAME, got {self.backbone!r}{other}")


_TINY = SemanticHashConfig()
SIZES = {
    "tiny": _TINY,
    "digits": replace(_TINY, shape=(1, 28, 28), views="digits"),
    "objects": replace(_TINY, shape=(3, 32, 32), widths=(64, 128, 256)),
    "photos": replace(
        _TINY,
        n_bits=256,
        prefixes=(64, 128),
        widths=(64, 128, 160),
        strides=(4, 2, 2),
        blocks=(0, 1, 1),
        decoder=8,
        views="photos",
        first_views="originals",
        temperature=0.1,
    ),
    "photos-trunk": replace(
        _TINY,
        shape=(3, 96, 96),
        n_bits=256,
        prefixes=(64, 128),
        trunk_blocks=(1, 2, 2, 3, 3, 2),
        features=384,
        decoder=0,
        views="copies",
        first_views="originals",
        temperature=0.1,
        decorrelation=5.0,
        reconstruction=0.0,
    ),
}


class SemanticHash(nn.Module):
    """See the module's docstring. Raises MissingDependencyError for a backbone whose package is missing."""

    def __init__(self, config: SemanticHashConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _encoder(config)
        width = self.encoder.width
        self.head = nn.Sequential(
            nn.Linear(width, config.features, bias=False),
            nn.BatchNorm1d(config.features),
            nn.ReLU(),
            nn.Linear(config.features, config.n_bits, bias=False),
            # Without scale and shift: a threshold at zero then splits the training pictures about in half.
            nn.BatchNorm1d(config.n_bits, affine=False),
        )
        # On top of a frozen extractor it is the features that are reconstructed.
        self.decoder = _decoder(config, width)
        self.train()

    @property
    def n_bits(self) -> int:
        return self.config.n_bits

    def train(self, mode: bool = True) -> SemanticHash:
        """As of any module, save that a fixed extractor keeps its running averages."""
        super().train(mode)
        if self.config.fixed:
            self.encoder.eval()
        return self

    def initialise(self, source: BatchSource, rng: torch.Generator) -> None:
        """Load the weights of backbone or trunk where the configuration names any, and of patches; no data is drawn.

        Raises CheckpointError.
        """
        config = self.config
        try:
            if isinstance(self.encoder, Backbone) and config.backbone_weights:
                self.encoder.load_weights(config.backbone_weights)
            elif isinstance(self.encoder, Trunk) and config.trunk_weights:
                self.encoder.load_published(Path(config.trunk_weights))
            elif isinstance(self.encoder, PatchFeatures):
                self.encoder.load(Path(config.patch_weights))
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"{config.backbone or config.trunk_weights}: {error}") from error

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, *shape) float32 in [0, 1] -> (B, n_bits) float32, of mean 0 and variance 1 over training pictures."""
        return self.head(self.encoder(x)).float()

    # -- training --------------------------------------------------------------------------------

    def loss(self, batch: torch.Tensor, rng: torch.Generator, progress: float = 0.0) -> Loss:
        """batch: (B, C, H, W) float32 in [0, 1], at least 2 pictures; both views of each are made here. With a teacher
        they are joined with its features.

        Or (B, width) float32, what a fixed extractor gave pictures before, and the teacher's features: training on
        those takes seconds. Two views of one then differ by `mask` and noise alone.

        The parts of the loss: ``contrast``, mean over the code lengths; ``relation``, nats per picture; ``mse`` of the
        reconstruction, ``kl`` in nats per bit, ``correlation``: mean squared correlation of two bits.
        """
        config = self.config
        halved = int(config.halves * len(batch)) // 2
        if config.stored_views:
            stored, taught = split_vectors(batch, config.teacher) if config.teacher else (batch, None)
            features = cast(Trunk, self.encoder).of_stored(stored, config.stored_views, config.shape, rng)
        elif config.fixed and batch.ndim == 2:
            batch, taught = split_vectors(batch, config.teacher) if config.teacher else (batch, None)
            features = batch.repeat(2, 1)
        else:
            batch, taught = split(batch, config.teacher) if config.teacher else (batch, None)
            if halved:
                batch = torch.cat([disjoint_halves(batch[:halved], rng), batch[2 * halved :]])
            size = config.shape[1], config.shape[2]
            recipes = RECIPES[config.first_views or config.views], RECIPES[config.views]
            views = torch.cat([random_view(batch, size, recipe, rng) for recipe in recipes])
            features = self.encoder(views.contiguous(memory_format=torch.channels_last))
        logits = self.head(masked(features, config.mask, rng)).float()
        with torch.autocast(batch.device.type, enabled=False):
            codes, probabilities = sampled_codes(
                logits, rng, noise=config.noise, balanced=config.bi_half, hard=config.straight_through
            )
            late = progress >= config.neighbours_from
            contrast = self._contrast(codes, self._alike(batch, features, logits, taught) if late else None)
            relation = self._relation(codes, taught, halved)
            kl = kl_to_fair_coin(probabilities)
            correlated = correlation(codes)
        mse = self._reconstruction_error(codes[: len(batch)], batch, features)
        total = (
            config.contrast * contrast
            + config.relation * relation
            + config.reconstruction * mse
            + config.kl * kl
            + config.decorrelation * correlated
        )
        parts = {"contrast": contrast, "kl": kl, "correlation": correlated}
        parts |= {"relation": relation} if taught is not None else {}
        parts |= {"mse": mse} if self.decoder is not None else {}
        return Loss(total, {key: value.detach() for key, value in parts.items()})

    def _alike(
        self, batch: torch.Tensor, features: torch.Tensor, logits: torch.Tensor, taught: torch.Tensor | None
    ) -> torch.Tensor | None:
        """(B, B) bool: which pictures of the batch count as the same, or None where only their own views do."""
        config = self.config
        if not config.neighbours:
            return None
        if config.neighbours_of == "teacher" and taught is not None:
            return mutual_neighbours(taught, config.neighbours)
        if config.neighbours_of == "pixels":
            vectors = F.adaptive_avg_pool2d(batch, 14).flatten(1)
        else:
            seen = features.float() if config.neighbours_of == "features" else torch.tanh(logits)
            first, second = seen.detach().chunk(2)
            vectors = first + second
        # Codes are centred by the norm before them.
        centre = 0.0 if config.neighbours_of == "codes" else vectors.mean(0)
        return mutual_neighbours(vectors - centre, config.neighbours)

    def _contrast(self, codes: torch.Tensor, alike: torch.Tensor | None) -> torch.Tensor:
        """Mean over the lengths of the code."""
        config = self.config
        lengths = (*config.prefixes, config.n_bits)
        terms = [nt_xent(codes[:, :k] @ codes[:, :k].T / (k * config.temperature), alike) for k in lengths]
        return torch.stack(terms).mean()

    def _relation(self, codes: torch.Tensor, taught: torch.Tensor | None, halved: int) -> torch.Tensor:
        """Of the whole code, between all views of different pictures; halves have their picture's features, and what
        they are to each other is left out."""
        if taught is None or not self.config.relation:
            return codes.new_zeros(())
        pictures = torch.arange(len(taught), device=codes.device)
        pictures[halved : 2 * halved] -= halved
        pictures, features = pictures.repeat(2), taught[pictures].repeat(2, 1)
        similarity = codes @ codes.T / codes.shape[1]
        apart = pictures[:, None] == pictures[None, :]
        return relation_loss(similarity, features @ features.T, self.config.relation_temperature, apart)

    def _reconstruction_error(self, codes: torch.Tensor, batch: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Mean squared error of what the decoder makes of the first view: the whole picture, or its features."""
        if self.decoder is None:
            return codes.new_zeros(())
        decoded = self.decoder(codes).float()
        if self.config.fixed:
            return (decoded - features[: len(codes)].float()).square().mean()
        size = decoded.shape[2:]
        target = batch if batch.shape[2:] == size else F.interpolate(batch, size=size, mode="area")
        return (decoded - target).square().mean()

    @torch.no_grad()
    def hash(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, *shape) float32 in [0, 1] -> (B, n_bits) bool. Packing is the Hasher's."""
        return self.logits(x) >= 0


def _encoder(config: SemanticHashConfig) -> Encoder | Trunk | PatchFeatures | Backbone:
    if config.patches:
        return PatchFeatures(config.shape[0], config.patches, config.patch_axes, mirrored=config.patch_mirrored)
    if config.backbone:
        return Backbone.named(config.backbone, config.shape[0]).requires_grad_(False)
    if config.trunk_blocks:
        return Trunk(config.trunk_blocks, frozen=config.frozen)
    return Encoder(config.shape[0], config.widths, config.strides or (2,) * len(config.widths), config.blocks)


def _decoder(config: SemanticHashConfig, width: int) -> nn.Module | None:
    if not config.decoder:
        return None
    return nn.Linear(config.n_bits, width) if config.fixed else Decoder(config.n_bits, config.decoder, config.shape)
