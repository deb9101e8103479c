"""Write the golden files of the current format version: a small checkpoint and .aec files of every family and kind.

Run it once per format version. Files that exist are never written again: the script refuses to.
``--kinds`` adds the files of every kind of picture to a folder that has the checkpoints already. ``--adapting`` writes
those of a flagship whose scale indices adapt, and of no other family, ``--coded`` those of one whose weights are told
by codes; ``--overfitted`` those that hold their networks; ``--filtered`` those with a filter of the decoded picture.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from aecodec.codec.codec import Codec
from aecodec.codec.overfitted import OverfittedCodec
from aecodec.codec.tiles import latent_codes
from aecodec.coding import container
from aecodec.coding.container import SemanticHash
from aecodec.coding.golden import golden_digest
from aecodec.coding.post_filter import PAIRS, PostFilter
from aecodec.contracts import QUALITY_KNOTS
from aecodec.data.images import Picture
from aecodec.engine.protocol import Engine
from aecodec.latents import coder_of
from aecodec.latents.adaptation import ESTIMATES, PREFIX, Adaptation
from aecodec.latents.context import STEPS
from aecodec.latents.exact import LEVELS
from aecodec.latents.protocol import Parts
from aecodec.models import FAMILIES
from aecodec.overfitted import payload
from aecodec.zoo import stored

if TYPE_CHECKING:
    import torch

SMALL: dict[str, dict[str, int]] = {
    "exact-hyperprior": {
        "channels": 16,
        "latents": 24,
        "hyper_latents": 8,
        "analysis_blocks": 1,
        "synthesis_blocks": 1,
        "features": 12,
        "scale_hidden": 8,
    },
    "factorized-prior": {"n": 8, "m": 12},
    "mean-scale-hyperprior": {"n": 8, "m": 12},
}
QUALITIES = (0, 37.5, 100)


def golden_picture(height: int = 70, width: int = 150) -> np.ndarray:
    """A picture of integers alone, (height, width, 3) uint8, the same on every machine."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = (rows * columns // 31) % 64 + (columns * 2) % 128 + np.where(columns > 2 * rows, 60, 0)
    return np.stack([waves, 255 - waves, (rows * 3 + waves) % 256], axis=2).astype(np.uint8)


def make_model(family: str, scales: float = 3.0) -> torch.nn.Module:
    """A small model of a family with seeded weights that use the whole range of their tables.

    scales: how far apart those of low and high qualities lie, against those that training would start from.
    """
    import torch

    from aecodec import checkpoint

    torch.manual_seed(20)
    model = checkpoint.build(family, SMALL[family]).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "analysis" in name or "g_a" in name:
                parameter.mul_(3.0)
            if "scale_net.offset" in name:
                parameter.mul_(scales)
            if family == "mean-scale-hyperprior" and name.startswith("g_a.6"):
                parameter.mul_(40.0)
    return model


def kinds() -> dict[str, tuple[Picture, int, SemanticHash | None]]:
    """Name -> picture, tile side, semantic hash: every kind of file that the format knows."""
    colour, grey = golden_picture(), golden_picture()[..., 0]
    alpha = golden_picture()[..., 2]
    metadata = {"icc": bytes(range(256)) * 2, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0", "xmp": b"<x:xmpmeta/>"}
    hashed = SemanticHash("hash-golden", b"hasherpr", bytes(range(0, 256, 8)))
    return {
        "grey": (Picture(grey), 1024, None),
        "grey-alpha": (Picture(grey, alpha=alpha), 1024, None),
        "rgb": (Picture(colour), 1024, None),
        "rgba": (Picture(colour, alpha=alpha), 1024, None),
        "metadata": (Picture(colour, metadata), 1024, None),
        "tiles": (Picture(golden_picture(300, 520)), 256, None),
        "hash": (Picture(colour), 1024, hashed),
        "everything": (
            Picture(golden_picture(300, 520), metadata, alpha=golden_picture(300, 520)[..., 1]),
            256,
            hashed,
        ),
    }


def latents_digest(engine: Engine, parsed: container.Container) -> str:
    """SHA-256 over the decoded integers of all tiles in order, y before z, as little-endian 32-bit."""
    digest = hashlib.sha256()
    for code in latent_codes(engine, parsed):
        digest.update(code.y.astype("<i4").tobytes())
        digest.update(b"" if code.z is None else code.z.astype("<i4").tobytes())
    return digest.hexdigest()


def write_kinds(folder: Path) -> None:
    """Add kind-NAME.aec of every kind, and kinds.json with what each must decode to."""
    paths = {name: folder / f"kind-{name}.aec" for name in kinds()}
    for path in (*paths.values(), folder / "kinds.json"):
        if path.exists():
            raise click.ClickException(f"{path} exists; golden files are never rewritten")
    record = {}
    for name, (picture, tile, hashed) in kinds().items():
        codec = Codec.from_pretrained(folder / "exact-hyperprior.safetensors", precision="float32", tile=tile)
        data = codec.encode_picture(picture, quality=60, semantic_hash=hashed).data
        paths[name].write_bytes(data)
        parsed = container.parse(data)
        record[name] = {
            "width": parsed.header.width,
            "height": parsed.header.height,
            "channels": parsed.header.channels,
            "tile": tile,
            "tiles": len(parsed.tiles),
            "latents": latents_digest(codec.engine, parsed),
            "alpha": None if picture.alpha is None else hashlib.sha256(picture.alpha.tobytes()).hexdigest(),
            "metadata": {kind: content.hex() for kind, content in sorted(picture.metadata.items())},
            "hash": None if hashed is None else [hashed.hasher, hashed.fingerprint.hex(), hashed.bits.hex()],
        }
    (folder / "kinds.json").write_text(json.dumps(record, indent=2) + "\n")


def made_adaptation(seed: int, strength: int = 300) -> Adaptation:
    """An adaptation of scale indices that nobody fitted: what residuals tell falls with the index, as it does in fitted
    ones; weights are of either sign and up to a strength."""
    rng = np.random.Generator(np.random.PCG64(seed))
    levels = np.arange(LEVELS)
    coded = levels > 0
    return Adaptation(
        gain=(9000 // (1 + levels) * coded).astype(np.int32),
        mean=(rng.integers(1, 900, LEVELS) * coded).astype(np.int32),
        information=(rng.integers(1, 2000, LEVELS) * coded).astype(np.int32),
        prior=rng.integers(1, 1 << 17, ESTIMATES).astype(np.int32),
        weights=rng.integers(-strength, strength + 1, (QUALITY_KNOTS, STEPS - 1, 1 + ESTIMATES)).astype(np.int32),
    )


def tensors_of(adaptation: Adaptation) -> dict[str, np.ndarray]:
    """An adaptation as a checkpoint names its parts."""
    return {f"{PREFIX}{field.name}_q": getattr(adaptation, field.name) for field in fields(adaptation)}


def adapting(source: Path, out: Path, adaptation: Adaptation) -> Path:
    """A checkpoint of the flagship, written with another adaptation."""
    kept = stored.read(source)
    tensors = {**kept.tensors, **tensors_of(adaptation)}
    digest = golden_digest(coder_of(kept.family, Parts(kept.config, tensors, kept.tables), out))
    stored.write(replace(kept, tensors=tensors, card={**kept.card, "golden": digest}), out)
    return out


def write_overfitted(folder: Path) -> None:
    """Files of `overfitted`, in colour and in grey, with the latents and the pixels that each must decode to."""
    codec = OverfittedCodec()
    for name, pixels in (("rgb", golden_picture()), ("grey", golden_picture()[..., 0])):
        data = codec.encode_picture(Picture(pixels), quality=40).data
        (tile,) = container.parse(data).tiles
        _, latents = payload.read(tile, *pixels.shape[:2])
        (folder / f"{name}.aec").write_bytes(data)
        found = codec.decode_picture(data).pixels
        np.savez_compressed(folder / f"{name}.npz", latents=latents, pixels=found)


def made_filter(planes: int) -> PostFilter:
    """A filter that nobody fitted, of either sign."""
    rng = np.random.Generator(np.random.PCG64(planes))
    taps, own = (rng.integers(-40, 41, (planes, planes, *rest)).astype(np.int32) for rest in ((PAIRS,), ()))
    return PostFilter(taps, own, (9, 8))


def write_filtered(folder: Path) -> None:
    """Files with a filter, in colour and in grey, of the flagship beside the folder, and the pixels of each."""
    codec = Codec.from_pretrained(folder.parent / "v1" / "exact-hyperprior.safetensors", precision="float32")
    for name, pixels in (("rgb", golden_picture()), ("grey", golden_picture()[..., 0])):
        parsed = container.parse(codec.encode_picture(Picture(pixels), quality=60, effort=1).data)
        side = {"post_filter": made_filter(3 if pixels.ndim == 3 else 1)}
        data = container.write(parsed.header, parsed.tiles, side)
        (folder / f"{name}.aec").write_bytes(data)
        np.savez_compressed(folder / f"{name}.npz", pixels=codec.decode_picture(data).pixels)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--kinds", "only_kinds", is_flag=True, help="Add the files of every kind beside the checkpoints.")
@click.option("--adapting", "of_adapting", is_flag=True, help="Of a flagship whose scale indices adapt.")
@click.option("--coded", "of_coded", is_flag=True, help="Of a flagship whose weights are told by codes.")
@click.option("--overfitted", "of_overfitted", is_flag=True, help="Of the family whose files hold their networks.")
@click.option("--filtered", "of_filtered", is_flag=True, help="Of the flagship, with a filter of the decoded picture.")
def main(
    folder: Path, only_kinds: bool, of_adapting: bool, of_coded: bool, of_overfitted: bool, of_filtered: bool
) -> None:
    """Write into FOLDER, e.g. tests/golden/v1."""
    if only_kinds:
        write_kinds(folder)
        return
    if folder.exists():
        raise click.ClickException(f"{folder} exists; golden files are never rewritten")
    folder.mkdir(parents=True)
    if of_overfitted or of_filtered:
        (write_overfitted if of_overfitted else write_filtered)(folder)
        return
    from aecodec import checkpoint

    record = {}
    codecs = sorted(name for name, family in FAMILIES.items() if family.role == "codec")
    for family in ["exact-hyperprior"] if of_adapting or of_coded else codecs:
        path = folder / f"{family}.safetensors"
        model = make_model(family, 1.0) if of_adapting else make_model(family)
        checkpoint.save(model, path, name="golden", family_name=family, card={}, half=of_coded)
        if of_adapting:
            adapting(path, path, made_adaptation(20))
        if of_coded:
            stored.write(stored.as_codes(stored.read(path)), path)
        codec = Codec.from_pretrained(path)
        for quality in QUALITIES if codec.variable_rate else (50,):
            encoded = codec.encode_picture(Picture(golden_picture()), quality=quality)
            name = f"{family}-q{quality:g}"
            (folder / f"{name}.aec").write_bytes(encoded.data)
            (code,) = latent_codes(codec.engine, container.parse(encoded.data))
            arrays = {"y": code.y} if code.z is None else {"y": code.y, "z": code.z}
            np.savez_compressed(folder / f"{name}.npz", **arrays)
            record[name] = {"family": family, "bytes": len(encoded.data), "nonzero": int(np.count_nonzero(code.y))}
    (folder / "record.json").write_text(json.dumps(record, indent=2) + "\n")
    click.echo(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
