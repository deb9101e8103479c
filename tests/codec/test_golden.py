"""Files of every released format version decode to the latents recorded when they were written, exactly."""

import hashlib
import json
from pathlib import Path
from typing import Any

import independent_reader
import make_golden
import numpy as np
import pytest
from extras import needs
from places import GOLDEN

from aecodec.codec.codec import Codec
from aecodec.codec.tiles import Grid
from aecodec.coding import container
from aecodec.coding.golden import golden_digest
from aecodec.contracts import BitstreamError
from aecodec.latents import coder_of
from aecodec.latents.protocol import Parts
from aecodec.zoo import stored
from aecodec.zoo.stored import Stored

KINDS = [
    (record.parent, name) for record in sorted(GOLDEN.glob("v*/kinds.json")) for name in json.loads(record.read_text())
]
FILES = sorted(GOLDEN.glob("*/*.aec"))
CHECKPOINTS = [path for record in sorted(GOLDEN.glob("*/record.json")) for path in record.parent.glob("*.safetensors")]
CASES = [
    (record.parent, name) for record in sorted(GOLDEN.glob("*/record.json")) for name in json.loads(record.read_text())
]


def coder(kept: Stored, path: Path) -> Any:
    """The latents' coder of a checkpoint: all that exactness depends on."""
    return coder_of(kept.family, Parts(kept.config, kept.tensors, kept.tables), path)


@pytest.mark.parametrize(("folder", "name"), CASES, ids=[f"{f.name}-{n}" for f, n in CASES])
def test_golden_file_decodes_to_the_recorded_latents(folder, name):
    family = json.loads((folder / "record.json").read_text())[name]["family"]
    path = folder / f"{family}.safetensors"
    reader = coder(stored.read(path), path)
    parsed = container.parse((folder / f"{name}.aec").read_bytes())
    (place,) = Grid.of(reader, parsed.header.height, parsed.header.width, parsed.header.tile).places
    code = reader.decode_tile(parsed.tiles[0], parsed.header.quality, *place.size)
    with np.load(folder / f"{name}.npz") as recorded:
        assert np.array_equal(code.y, recorded["y"])
        if code.z is not None:
            assert np.array_equal(code.z, recorded["z"])
    assert reader.encode_tile(code) == parsed.tiles[0]


@needs("torch")
@pytest.mark.parametrize(("folder", "name"), CASES, ids=[f"{f.name}-{n}" for f, n in CASES])
def test_golden_file_decodes_to_a_picture(folder, name):
    from small_models import skip_without_layers_of

    family = json.loads((folder / "record.json").read_text())[name]["family"]
    skip_without_layers_of(family)
    codec = Codec.from_pretrained(folder / f"{family}.safetensors")
    assert codec.decode_picture((folder / f"{name}.aec").read_bytes()).pixels.shape == (70, 150, 3)


@pytest.mark.parametrize(("folder", "name"), KINDS, ids=[f"{f.name}-{n}" for f, n in KINDS])
def test_every_kind_of_file_decodes_to_what_is_on_record(folder, name):
    expected = json.loads((folder / "kinds.json").read_text())[name]
    parsed = container.parse((folder / f"kind-{name}.aec").read_bytes())
    header, found = parsed.header, parsed.semantic_hash
    assert {key: getattr(header, key) for key in ("width", "height", "channels", "tile")}.items() <= expected.items()
    assert len(parsed.tiles) == expected["tiles"]
    assert {kind: content.hex() for kind, content in parsed.metadata.items()} == expected["metadata"]
    assert (found and [found.hasher, found.fingerprint.hex(), found.bits.hex()]) == expected["hash"]
    path = folder / "exact-hyperprior.safetensors"
    reader = coder(stored.read(path), path)
    assert make_golden.latents_digest(reader, parsed) == expected["latents"]


@needs("torch")
@pytest.mark.parametrize(("folder", "name"), KINDS, ids=[f"{f.name}-{n}" for f, n in KINDS])
def test_every_kind_of_file_decodes_to_a_picture(folder, name):
    parsed = container.parse((folder / f"kind-{name}.aec").read_bytes())
    picture = Codec.from_pretrained(folder / "exact-hyperprior.safetensors").decode_container(parsed)
    assert picture.pixels.shape[:2] == (parsed.header.height, parsed.header.width)
    alpha = None if picture.alpha is None else hashlib.sha256(picture.alpha.tobytes()).hexdigest()
    assert alpha == json.loads((folder / "kinds.json").read_text())[name]["alpha"]


def test_every_kind_is_there_and_none_can_be_written_again():
    newest = max(GOLDEN.glob("v*/kinds.json")).parent
    assert set(json.loads((newest / "kinds.json").read_text())) == set(make_golden.kinds())
    before = {path: path.read_bytes() for path in newest.iterdir()}
    for arguments in ([str(newest)], [str(newest), "--kinds"]):
        with pytest.raises(make_golden.click.ClickException, match="never rewritten"):
            make_golden.main(arguments, standalone_mode=False)
    assert {path: path.read_bytes() for path in newest.iterdir()} == before


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_a_reader_written_from_the_text_alone_finds_the_same(path):
    data = path.read_bytes()
    parsed, other = container.parse(data), independent_reader.read(data)
    header = parsed.header
    assert (other.version, other.channels, other.depth, other.tile) == (1, header.channels, 8, header.tile)
    assert (other.width, other.height, other.quality) == (header.width, header.height, header.quality)
    assert (other.model, other.fingerprint) == (header.model, header.fingerprint)
    assert (other.tiles, other.alpha, other.metadata) == (parsed.tiles, parsed.alpha, parsed.metadata)
    found, filtered = parsed.semantic_hash, parsed.post_filter
    assert other.hash == (found and (found.hasher, found.fingerprint, found.bits))
    parts = filtered and (filtered.taps.ravel().tolist(), filtered.own.ravel().tolist())
    assert other.filter == (filtered and (filtered.planes, *filtered.exponents, *parts))


@pytest.mark.parametrize("name", ["rgb", "grey"])
def test_a_filtered_golden_file_decodes_to_the_recorded_pixels(name):
    """To one level: the last step is in floating point."""
    codec = Codec.from_pretrained(GOLDEN / "v1" / "exact-hyperprior.safetensors", precision="float32")
    data = (GOLDEN / "filtered" / f"{name}.aec").read_bytes()
    found = codec.decode_picture(data).pixels
    with np.load(GOLDEN / "filtered" / f"{name}.npz") as recorded:
        assert np.abs(found.astype(int) - recorded["pixels"]).max() <= 1
    parsed = container.parse(data)
    plain = container.write(parsed.header, parsed.tiles)
    assert np.abs(codec.decode_picture(plain).pixels.astype(int) - found).max() > 4


@pytest.mark.parametrize("name", ["v1/kind-hash", "filtered/rgb"])
def test_the_two_readers_refuse_the_same_files(name):
    """Every byte of a file with every chunk changed in one bit, and every length."""
    data = (GOLDEN / f"{name}.aec").read_bytes()
    damaged = [bytes([*data[:n], data[n] ^ 1 << n % 8, *data[n + 1 :]]) for n in range(len(data))]
    for wrong in damaged + [data[:n] for n in range(len(data))]:
        with pytest.raises(BitstreamError):
            container.parse(wrong)
        with pytest.raises(independent_reader.Refused):
            independent_reader.read(wrong)


def test_every_family_that_codes_pictures_has_golden_files():
    from aecodec.models import FAMILIES

    newest = max(GOLDEN.glob("v*/record.json")).parent
    codecs = {name for name, family in FAMILIES.items() if family.role == "codec"}
    assert {path.stem for path in newest.glob("*.safetensors")} == codecs


@pytest.mark.parametrize("path", sorted(CHECKPOINTS), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_checkpoints_pass_their_own_golden_vector(path):
    kept = stored.read(path)
    assert golden_digest(coder(kept, path)) == kept.card["golden"]


def test_the_golden_digest_notices_a_changed_table():
    path = next(iter(sorted(GOLDEN.glob("v*/exact-hyperprior.safetensors"))))
    kept = stored.read(path)
    row = kept.tables["z"].frequencies[0]
    row[[0, 1]] = row[[1, 0]]
    row[0] += 500
    row[int(row.argmax())] -= 500
    assert golden_digest(coder(kept, path)) != kept.card["golden"]
