"""Files of every released format version decode to the latents recorded when they were written, exactly."""

import json
from pathlib import Path

import numpy as np
import pytest

from aecodec import checkpoint
from aecodec.codec import Codec
from aecodec.coding import container
from aecodec.golden import golden_digest

GOLDEN = Path(__file__).parent / "golden"
CASES = [
    (record.parent, name) for record in sorted(GOLDEN.glob("v*/record.json")) for name in json.loads(record.read_text())
]


@pytest.mark.parametrize(("folder", "name"), CASES, ids=[f"{f.name}-{n}" for f, n in CASES])
def test_golden_file_decodes_to_the_recorded_latents(folder, name):
    family = json.loads((folder / "record.json").read_text())[name]["family"]
    codec = Codec(checkpoint.load(folder / f"{family}.safetensors"))
    data = (folder / f"{name}.aec").read_bytes()
    parsed = container.parse(data)
    height, width = codec._latent_sides(parsed.header.height, parsed.header.width)
    code = codec._model.decode_tile(parsed.tiles[0], parsed.header.quality, height, width)
    with np.load(folder / f"{name}.npz") as recorded:
        assert np.array_equal(code.y, recorded["y"])
        if code.z is not None:
            assert np.array_equal(code.z, recorded["z"])
    assert codec._model.encode_tile(code) == parsed.tiles[0]
    assert codec.decode_picture(data).pixels.shape == (70, 150, 3)


def test_every_family_has_golden_files():
    from aecodec.models import FAMILIES

    newest = max(GOLDEN.glob("v*"))
    assert {path.stem for path in newest.glob("*.safetensors")} == set(FAMILIES)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("v*/*.safetensors")), ids=lambda p: p.stem)
def test_checkpoints_pass_their_own_golden_vector(path):
    frozen = checkpoint.load(path)
    assert golden_digest(frozen.module) == frozen.metadata["golden"]


def test_the_golden_digest_notices_a_changed_table():
    frozen = checkpoint.load(next(iter(sorted(GOLDEN.glob("v*/exact-hyperprior.safetensors")))))
    recorded = frozen.metadata["golden"]
    row = frozen.module.tables["z"].frequencies[0]
    row[[0, 1]] = row[[1, 0]]
    row[0] += 500
    row[int(row.argmax())] -= 500
    assert golden_digest(frozen.module) != recorded
