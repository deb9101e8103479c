"""Laws of tiles larger than a block: the same integers, the same pixels, and networks that see a block at a time."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import natural_picture
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from places import TESTS

from aecodec.codec import decoder as decoders
from aecodec.codec.codec import Codec
from aecodec.coding import container, rans
from aecodec.coding.tables import freeze_pmfs
from aecodec.contracts import SymbolPlane
from aecodec.data.tiling import Window
from aecodec.latents import exact
from aecodec.latents.exact_hyperprior import read_scale_net
from aecodec.latents.mean_scale_hyperprior import read_scales
from aecodec.zoo import stored

GOLDEN = TESTS / "golden" / "v1"


@pytest.fixture(scope="module", params=["plain", "adapting"])
def large(request, small_codec, adapting_codec):
    """A file of one tile of 512 pixels, the codec of it, and its engine."""
    codec = Codec({"plain": small_codec, "adapting": adapting_codec}[request.param].engine, tile=512)
    return codec, codec.encode(Image.fromarray(natural_picture(500, 391, seed=4)), quality=80)


def plane(draw, escape):
    shape = draw(st.integers(1, 5)), draw(st.integers(1, 6)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    pmfs = [rng.dirichlet(np.ones(n)) * (0.8 if escape else 1.0) for n in (1, 3, 7, 2)]
    tables = freeze_pmfs(pmfs, [0, -1, -3, 5], escape)
    index = rng.integers(0, 4, shape)
    low, lengths = tables.offsets[index], tables.lengths[index] - (1 if escape else 0)
    symbols = low + (rng.random(shape) * lengths).astype(int)
    if escape:
        symbols += np.where(rng.random(shape) < 0.2, rng.integers(-300, 300, shape), 0)
    return index, symbols.astype(np.int32), tables


@given(st.data(), st.booleans(), st.booleans())
def test_a_plane_popped_chunk_by_chunk_is_the_plane(data, escape, silent):
    index, symbols, tables = plane(data.draw, escape)
    coded = index > 0 if silent else np.ones(index.shape, bool)
    symbols = np.where(coded, symbols, 0)
    payload = rans.encode_planes([(SymbolPlane(symbols[coded], index[coded]), tables)])
    height, width = index.shape[1:]
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    part = slice(top, data.draw(st.integers(top + 1, height))), slice(left, data.draw(st.integers(left + 1, width)))
    for wanted in (None, part):
        for at_once, chunk in ((1 << 23, 1 << 22), (0, 1), (0, height * width * 2)):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(rans, "AT_ONCE", at_once)
                patch.setattr(rans, "CHUNK", chunk)
                coder = rans.PlaneDecoder(payload)
                found = coder.pop_plane(index, tables, wanted, silent=silent)
                coder.finish()
            assert np.array_equal(found, symbols if wanted is None else symbols[:, part[0], part[1]])


@pytest.mark.parametrize("family", ["exact-hyperprior", "mean-scale-hyperprior"])
def test_table_indices_found_in_windows_are_those_of_the_whole(family, monkeypatch):
    kept = stored.read(GOLDEN / f"{family}.safetensors")
    flagship = family == "exact-hyperprior"
    channels = kept.config["hyper_latents" if flagship else "n"]
    z = np.random.default_rng(0).integers(-9, 10, (channels, 13, 17)).astype(np.int32)
    if flagship:
        net = read_scale_net(kept.tensors, "scale_net.", kept.config["z_max"])
        indices = lambda: net(z, 730)  # noqa: E731
    else:
        mirror = read_scales(kept.tensors, "fixed_scales.")
        indices = lambda: mirror(z)  # noqa: E731
    whole = indices()
    monkeypatch.setattr(exact, "WHOLE", 0)
    for side in (1, 5, 32):
        monkeypatch.setattr(exact, "SIDE", side)
        assert np.array_equal(indices(), whole)


def test_a_large_tile_gives_the_pixels_of_the_whole_within_a_level(large, monkeypatch):
    codec, data = large
    whole = codec.decode_picture(data).pixels
    monkeypatch.setattr(decoders, "BLOCK", 256)
    blocks = codec.decode_picture(data).pixels
    assert np.abs(whole.astype(int) - blocks.astype(int)).max() <= 1
    parsed = container.parse(data)
    for crop in (Window(0, 0, 10, 10), Window(250, 250, 260, 391), Window(130, 3, 499, 300)):
        assert np.array_equal(codec.decode_container(parsed, crop).pixels, blocks[crop.slices])


def test_networks_see_a_block_at_a_time_and_a_crop_only_its_own(large, monkeypatch):
    codec, data = large
    monkeypatch.setattr(decoders, "BLOCK", 256)
    sizes, parts = [], []
    synthesise, decode_tile = type(codec.engine).synthesise, type(codec.engine).decode_tile

    def watched(self, y_hat, *args, **kwargs):
        sizes.append(y_hat.shape[1:])
        return synthesise(self, y_hat, *args, **kwargs)

    def decoded(self, *args):
        code = decode_tile(self, *args)
        parts.append(code.y.shape[1:])
        return code

    monkeypatch.setattr(type(codec.engine), "synthesise", watched)
    monkeypatch.setattr(type(codec.engine), "decode_tile", decoded)
    parsed = container.parse(data)
    codec.decode_container(parsed)
    most = 256 // 16 + 2 * codec.engine.context
    assert len(sizes) == 4
    assert max(max(size) for size in sizes) <= most
    assert parts == [(32, 28)]
    sizes.clear()
    codec.decode_container(parsed, Window(0, 0, 10, 10))
    assert len(sizes) == 1
    assert len(parts) == 2


def test_a_lost_large_tile_is_grey_and_named_once(large, monkeypatch):
    codec, data = large
    monkeypatch.setattr(decoders, "BLOCK", 256)
    torn = bytearray(data)
    torn[len(torn) // 2] ^= 1
    picture = codec.decode_container(container.parse(bytes(torn), partial=True))
    assert picture.damaged == (0,)
    assert (picture.pixels == decoders.LOST_LEVEL).all()


@pytest.mark.parametrize("folder", ["v1", "adapting"])
def test_a_tile_of_sixteen_megapixels_takes_memory_for_its_symbols_and_no_floats(folder, monkeypatch):
    """A crop of a forged file whose one tile is silent: the integers of a block, and one byte for each symbol, or about
    four if they adapt."""
    import tracemalloc

    codec = Codec.from_pretrained(GOLDEN.parent / folder / "exact-hyperprior.safetensors", engine="torch")
    side = 4096
    head = container.Header(side, side, 3, 0, codec.name, codec.fingerprint, tile=side)
    small = codec.encode(Image.new("RGB", (64, 64), (90, 90, 90)), quality=0)
    monkeypatch.setattr(rans.PlaneDecoder, "finish", lambda self: None)
    parsed = container.parse(container.write(head, [container.parse(small).tiles[0]]))
    symbols = codec.engine.latents * (side // 16) ** 2
    tracemalloc.start()
    try:
        codec.decode_container(parsed, Window(0, 0, 10, 10))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * symbols + (64 << 20)
