"""The file codec with the embedded model: sizes, tiles, targets, metadata, exactness of latents."""

import io
from dataclasses import replace

import numpy as np
import pytest
from extras import needs
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scenes import scene, small_tiles

import aecodec
from aecodec.codec.codec import Codec
from aecodec.codec.files import Codecs
from aecodec.codec.quality import quality_of, step_of
from aecodec.codec.target import Target, search
from aecodec.codec.tiles import Grid, analyse, cut
from aecodec.coding import container
from aecodec.contracts import (
    QUALITY_STEPS,
    BitstreamError,
    ModelMismatchError,
    OutputExistsError,
    PictureTooLargeError,
    TargetUnreachableError,
    UsageError,
)
from aecodec.data.images import Picture, pack_alpha, read_picture
from aecodec.data.tiling import Window, crop_window
from aecodec.engine.opening import limit_threads
from aecodec.metrics.psnr import psnr


@pytest.fixture(scope="module", params=["onnx", pytest.param("torch", marks=needs("torch"))])
def codec(request: pytest.FixtureRequest) -> Codec:
    return Codec.from_pretrained(precision="float32", engine=request.param)


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (3, 2), (17, 64), (64, 64), (65, 130), (255, 257)])
@pytest.mark.parametrize("grey", [False, True])
def test_any_size_comes_back_with_its_size_and_mode(codec, size, grey):
    picture = Picture(scene(*size, grey=grey))
    back = codec.decode_picture(codec.encode_picture(picture, quality=80).data)
    assert back.pixels.shape == picture.pixels.shape
    assert psnr(picture.pixels, back.pixels) > 24


def test_higher_quality_costs_more_and_gives_more(codec):
    picture = Picture(scene(256, 384))
    sizes, levels = [], []
    for quality in (0, 25, 50, 75, 100):
        encoded = codec.encode_picture(picture, quality=quality)
        sizes.append(len(encoded.data))
        levels.append(psnr(picture.pixels, codec.decode_picture(encoded.data).pixels))
    assert sizes == sorted(sizes)
    assert levels == sorted(levels)


def test_tiles_leave_no_seam(codec):
    """Beside the borders of its tiles a picture is as good as it is without tiles."""
    pixels = scene(1100, 2100)
    errors = []
    for tile, count in ((1024, 6), (4096, 1)):
        tiled = Codec(codec.engine, tile=tile)
        data = tiled.encode_picture(Picture(pixels), quality=70).data
        assert len(container.parse(data).tiles) == count
        errors.append((tiled.decode_picture(data).pixels.astype(float) - pixels) ** 2)
    band = np.zeros(pixels.shape[:2], bool)
    for border in (1024, 2048):
        band[:, border - 8 : border + 8] = True
    band[1016:1032] = True
    cut, whole = (error[band].mean() for error in errors)
    assert abs(10 * np.log10(cut / whole)) < 0.2


def test_analysis_in_windows_equals_analysis_in_one_piece(codec):
    pixels, tiled = scene(320, 640), small_tiles(codec)
    whole = codec.engine.analyse(pixels)
    grid = Grid.of(tiled.engine, 320, 640, tiled.tile)
    assert len(grid.places) == 6
    for place in grid.places:
        part = analyse(tiled.engine, grid, pixels, place)
        np.testing.assert_allclose(part, cut(whole, place), rtol=1e-3, atol=2e-3)


def test_threads_change_no_byte_and_no_pixel(codec):
    limit_threads(1)
    picture = Picture(scene(300, 600))
    one, three = small_tiles(codec), small_tiles(codec, jobs=3)
    data = one.encode_picture(picture, target_bpp=0.2).data
    assert three.encode_picture(picture, target_bpp=0.2).data == data
    assert np.array_equal(three.decode_picture(data).pixels, one.decode_picture(data).pixels)


@pytest.mark.parametrize("grey", [False, True])
def test_windowed_pixels_give_the_same_file_and_the_same_picture(codec, grey):
    tiled = small_tiles(codec)
    image = Image.fromarray(scene(300, 600, grey))
    eager, windowed = read_picture(image), read_picture(image, windowed=True)
    data = tiled.encode_picture(eager, quality=50).data
    assert tiled.encode_picture(windowed, quality=50).data == data
    parsed = container.parse(data)
    for crop in (None, Window(200, 100, 290, 555)):
        there = codec.decode_container(parsed, crop, windowed=True)
        assert np.array_equal(np.asarray(there.pixels), codec.decode_container(parsed, crop).pixels)


def test_latents_of_large_pictures_wait_in_half_precision(codec, monkeypatch):
    """With next to no effect on the file."""
    picture = Picture(scene(256, 384))
    full = codec.encode_picture(picture, target_psnr=30)
    monkeypatch.setattr("aecodec.codec.encoder.FULL_LATENTS", 0)
    half = codec.encode_picture(picture, target_psnr=30)
    # Both are somewhere in the tolerance of the target.
    levels = [psnr(picture.pixels, codec.decode_picture(found.data).pixels) for found in (full, half)]
    assert levels[0] == pytest.approx(levels[1], abs=0.05)
    assert len(half.data) == pytest.approx(len(full.data), rel=0.02)


@pytest.mark.parametrize("bpp", [0.1, 0.3, 0.8])
def test_target_rate_is_met_without_going_over(codec, bpp):
    pixels = scene(256, 384)
    noisy = np.clip(pixels + np.random.default_rng(0).normal(0, 12, pixels.shape), 0, 255).astype(np.uint8)
    encoded = codec.encode_picture(Picture(noisy), target_bpp=bpp)
    assert encoded.encodes <= 8
    assert 0.98 * bpp <= encoded.bpp <= bpp


def test_unreachable_target_is_named(codec):
    with pytest.raises(TargetUnreachableError):
        codec.encode_picture(Picture(scene(64, 64)), target_size=30)


@pytest.mark.parametrize("size", [10_000, 23_456, 99_000])
def test_search_ends_within_eight_trials(size):
    calls = []

    def length(step: int) -> int:
        return int(900 * np.exp(0.0052 * step))

    def trial(step: int) -> tuple[float, int]:
        calls.append(step)
        return np.log(length(step)), length(step)

    found = search(trial, Target.size(size))
    assert found.result == length(found.step) <= size
    assert found.result >= 0.99 * size or length(found.step + 1) > size
    assert found.trials == len(calls) == len(set(calls)) <= 8


@pytest.mark.parametrize("decibel", [27.5, 28.0, 29.0])
def test_target_psnr_is_reached_by_the_smallest_file_that_does(codec, decibel):
    pixels = scene(256, 384)
    noisy = np.clip(pixels + np.random.default_rng(0).normal(0, 8, pixels.shape), 0, 255).astype(np.uint8)
    encoded = codec.encode_picture(Picture(noisy), target_psnr=decibel, effort=1)
    found = psnr(noisy, codec.decode_picture(encoded.data).pixels)
    assert encoded.encodes <= 8
    assert decibel <= found
    # Nearer than a twentieth of a decibel, or no lower step will do.
    lower = codec.encode_picture(Picture(noisy), quality=quality_of(encoded.quality - 1), effort=1)
    assert found <= decibel + 0.05 or psnr(noisy, codec.decode_picture(lower.data).pixels) < decibel


def test_a_psnr_that_no_quality_reaches_is_named(codec):
    with pytest.raises(TargetUnreachableError, match="highest quality stays below"):
        codec.encode_picture(Picture(scene(64, 64)), target_psnr=60)
    nearest = codec.encode_picture(Picture(scene(64, 64)), target_psnr=60, closest=True)
    assert nearest.quality == QUALITY_STEPS


@settings(max_examples=200)
@given(bend=st.floats(-0.4, 0.4), share=st.floats(0.0, 1.0), wobble=st.floats(0.0, 0.3), closest=st.booleans())
def test_any_curve_of_psnr_is_reached_within_a_twentieth_in_eight_encodes(bend, share, wobble, closest):
    """dB against the step: rising, bent either way, with ripples; the target anywhere, both ends included."""
    steps = np.arange(1001) / 1000
    curve = 24.0 + 17.0 * (steps + bend * steps * (1 - steps)) + 0.17 * wobble * np.sin(40 * steps)
    curve = np.maximum.accumulate(curve)
    asked = float(curve[0] + share * (curve[-1] - curve[0]))
    trials = []

    def trial(step: int) -> tuple[float, int]:
        trials.append(step)
        return float(curve[step]), step

    found = search(trial, Target.psnr(asked, closest))
    assert len(trials) == len(set(trials)) <= 8
    if closest:
        assert abs(curve[found.result] - asked) == min(abs(curve[step] - asked) for step in trials)
    else:
        assert asked <= curve[found.result]
    least = int(np.argmax(curve >= asked))
    assert found.result == least or abs(curve[found.result] - asked) <= 0.05


def test_whole_qualities_are_whole_steps_and_every_step_is_a_quality():
    assert [step_of(q) for q in (0, 10, 50, 80, 100)] == [0, 150, 750, 900, QUALITY_STEPS]
    assert [step_of(quality_of(step)) for step in range(QUALITY_STEPS + 1)] == list(range(QUALITY_STEPS + 1))
    assert [quality_of(step_of(quality)) for quality in range(101)] == list(range(101))


@settings(max_examples=300)
@given(
    start=st.floats(5.0, 12.0),
    slope=st.floats(0.002, 0.008),
    bend=st.floats(-0.4, 0.4),
    share=st.floats(0.02, 0.98),
    wobble=st.floats(0.0, 0.3),
    closest=st.booleans(),
)
def test_any_curve_of_sizes_is_met_within_a_percent_in_eight_encodes(start, slope, bend, share, wobble, closest):
    """log size against the step: rising, bent either way, with ripples; the target between its ends."""
    steps = np.arange(1001) / 1000
    curve = start + 1000 * slope * (steps + bend * steps * (1 - steps)) + wobble * slope * 10 * np.sin(40 * steps)
    curve = np.maximum.accumulate(curve)
    sizes = np.round(np.exp(curve)).astype(int)
    target = int(np.exp(curve[0] + share * (curve[-1] - curve[0])))
    trials = []

    def trial(step: int) -> tuple[float, int]:
        trials.append(step)
        return float(np.log(sizes[step])), int(sizes[step])

    found = search(trial, Target.size(target, closest))
    assert len(trials) == len(set(trials)) <= 8
    best = int(sizes[sizes <= target].max())
    if closest:
        # Nothing that was tried comes nearer.
        assert abs(np.log(found.result / target)) == min(abs(np.log(sizes[s] / target)) for s in trials)
        assert abs(found.result - target) <= max(target - best, 0.01 * target)
    else:
        assert found.result <= target
        assert found.result == best or found.result >= 0.99 * target


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (250, 100, 20, 60), (511, 0, 89, 300), (0, 0, 600, 300)])
@pytest.mark.parametrize("grey", [False, True])
def test_a_crop_is_that_part_of_the_whole_exactly(codec, box, grey):
    alpha = scene(300, 600, grey=True)
    parsed = container.parse(
        small_tiles(codec).encode_picture(Picture(scene(300, 600, grey), alpha=alpha), quality=60).data
    )
    window = crop_window(box)
    part, whole = codec.decode_container(parsed, window), codec.decode_container(parsed)
    assert np.array_equal(part.pixels, whole.pixels[window.slices])
    assert np.array_equal(part.alpha, alpha[window.slices])


def test_a_crop_decodes_only_the_tiles_it_needs(codec):
    parsed = container.parse(small_tiles(codec).encode_picture(Picture(scene(256, 1280)), quality=40).data)
    broken = replace(parsed, tiles=[*parsed.tiles[:3], b"", b"broken"])
    part = codec.decode_container(broken, Window(0, 0, 256, 500)).pixels
    assert np.array_equal(part, codec.decode_container(parsed).pixels[:, :500])
    with pytest.raises(BitstreamError):
        codec.decode_container(broken)


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (-1, 0, 5, 5), (30, 0, 5, 5), (0, 0, 31, 1)])
def test_a_crop_outside_the_picture_is_a_usage_error(codec, box):
    parsed = container.parse(codec.encode_picture(Picture(scene(20, 30))).data)
    with pytest.raises(UsageError, match="crop"):
        codec.decode_container(parsed, crop_window(box))


def test_a_semantic_hash_travels(codec):
    given = container.SemanticHash("hash-tiny", b"hasherpr", bytes(range(16)))
    data = codec.encode_picture(Picture(scene(30, 40)), target_size=800, semantic_hash=given).data
    assert container.parse(data).semantic_hash == given
    assert container.read_semantic_hash(io.BytesIO(data))[1] == given


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_kept_exactly(codec, mode):
    image = Image.fromarray(scene(50, 70, grey=mode == "LA"))
    alpha = scene(50, 70, grey=True)
    image.putalpha(Image.fromarray(alpha))
    back = codec.decode(codec.encode(image, quality=70))
    assert back.mode == mode
    assert np.array_equal(np.asarray(back.getchannel("A")), alpha)


def test_a_damaged_alpha_plane_is_named(codec):
    whole = container.parse(codec.encode_picture(Picture(scene(64, 64))).data)
    header, tile = replace(whole.header, channels=4), whole.tiles[0]
    for plane in (b"", b"no picture", pack_alpha(np.zeros((3, 3), np.uint8))):
        with pytest.raises(BitstreamError, match="alpha"):
            codec.decode_picture(container.write(header, [tile], {"alpha": plane}))


def test_estimated_and_real_size_agree(codec):
    """Ideal code length of the latents against the whole file: 0.5 % plus the header."""
    rng = np.random.default_rng(1)
    pixels = np.clip(scene(512, 768) + rng.normal(0, 6, (512, 768, 3)), 0, 255).astype(np.uint8)
    for quality in (20, 50, 90):
        data = codec.encode_picture(Picture(pixels), quality=quality).data
        parsed = container.parse(data)
        code = codec.engine.decode_tile(parsed.tiles[0], parsed.header.quality, 32, 48)
        ideal = sum(tables.bits(p.symbols, p.tables) for p, tables in codec.engine.symbol_planes(code)) / 8
        assert ideal - 1 <= len(data) <= 1.005 * ideal + 48 + container.MIN_CHUNK


def test_metadata_travels_and_can_be_stripped(codec, tmp_path):
    source = tmp_path / "photo.png"
    Image.fromarray(scene(40, 50)).save(source, icc_profile=b"some profile")
    aecodec.compress(source, codec=codec)
    aecodec.decompress(source.with_suffix(".aec"), tmp_path / "back.png", codec=codec)
    assert Image.open(tmp_path / "back.png").info["icc_profile"] == b"some profile"
    aecodec.compress(source, tmp_path / "bare.aec", codec=codec, strip={"icc"})
    assert aecodec.info(tmp_path / "bare.aec")["metadata"] == {}


def test_nothing_is_overwritten_unasked(codec, tmp_path):
    source = tmp_path / "photo.png"
    Image.fromarray(scene(40, 50)).save(source)
    source.with_suffix(".aec").write_bytes(b"precious")
    with pytest.raises(OutputExistsError):
        aecodec.compress(source, codec=codec)
    assert source.with_suffix(".aec").read_bytes() == b"precious"
    aecodec.compress(source, codec=codec, overwrite=True)
    assert aecodec.verify(source.with_suffix(".aec"), full=True).width == 50


def test_another_model_is_refused(codec):
    header = container.Header(10, 10, 3, 500, "other", b"another!")
    data = container.write(header, [b""])
    with pytest.raises(ModelMismatchError, match="other"):
        codec.decode_picture(data)
    with pytest.raises(ModelMismatchError, match=b"another!".hex()):
        Codecs().of(container.parse(data).header)


def test_a_payload_of_another_tile_is_refused(codec):
    """Checksums right, content wrong: the entropy decoder notices what is left over or missing."""
    small, large = (codec.encode_picture(Picture(scene(s, s)), quality=60).data for s in (64, 256))
    header = container.parse(small).header
    spliced = container.write(header, container.parse(large).tiles)
    with pytest.raises(BitstreamError):
        codec.decode_picture(spliced)


def test_forged_huge_size_is_refused_before_pixels_are_allocated(codec):
    header = container.Header(1 << 19, 1 << 19, 3, 500, codec.name, codec.fingerprint, tile=1 << 14)
    rows, columns = header.grid()
    with pytest.raises(PictureTooLargeError, match="limit"):
        codec.decode_picture(container.write(header, [b""] * (rows * columns)))


@pytest.mark.parametrize("quality", [-1, 101, float("nan")])
def test_quality_out_of_range_is_a_usage_error(codec, quality):
    with pytest.raises(UsageError):
        codec.encode(Image.new("RGB", (8, 8)), quality=quality)


def test_pillow_images_in_and_out(codec):
    image = Image.fromarray(scene(48, 80))
    back = codec.decode(codec.encode(image, quality=90))
    assert (back.mode, back.size) == ("RGB", (80, 48))
    buffer = io.BytesIO()
    back.save(buffer, "PNG")
