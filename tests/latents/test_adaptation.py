"""Laws of adapting scale indices: the slow way gives the same, every engine does, and hostile ones are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import natural_picture
from extras import needs
from hypothesis import given, settings
from hypothesis import strategies as st
from make_golden import adapting, made_adaptation, tensors_of
from PIL import Image
from places import GOLDEN

from aecodec.codec.codec import Codec
from aecodec.codec.tiles import latent_codes
from aecodec.coding import container, rans
from aecodec.contracts import QUALITY_KNOT, BitstreamError, CheckpointError, LatentCode
from aecodec.latents import adaptation as adaptations
from aecodec.latents import coder_of
from aecodec.latents.adaptation import (
    INFORMATION_MAX,
    MAGNITUDE_MAX,
    RATIO_FRACTION,
    RATIO_MAX,
    RATIO_SHIFT,
    SCORE_MAX,
    SUM_BOUND,
    WEIGHT_FRACTION,
    Adaptation,
    Walk,
    read_adaptation,
)
from aecodec.latents.context import STEPS, cells_of_step, put_step, step_map
from aecodec.latents.exact import LEVELS
from aecodec.latents.protocol import Parts
from aecodec.zoo import stored

PLAIN = GOLDEN / "v1" / "exact-hyperprior.safetensors"
ADAPTING = GOLDEN / "adapting" / "exact-hyperprior.safetensors"


def coder(adaptation: Adaptation) -> Any:
    """Of the golden model with another adaptation."""
    kept = stored.read(PLAIN)
    return coder_of(kept.family, Parts(kept.config, {**kept.tensors, **tensors_of(adaptation)}, kept.tables), PLAIN)


def tile(seed: int, height: int = 8, width: int = 12, channels: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Residuals that are wider in places, and indices of which some are 0, where the residual is 0."""
    rng = np.random.default_rng(seed)
    index = rng.integers(0, LEVELS, (channels, height, width)).astype(np.uint8)
    spread = 0.1 * np.exp(0.11 * index) * np.exp(rng.normal(0, 0.7, (1, height, width)))
    y = np.rint(rng.normal(0, 1, index.shape) * spread).astype(np.int32)
    return np.where(index > 0, y, 0).astype(np.int32), index


def walked(adaptation: Adaptation, y: np.ndarray, index: np.ndarray, quality: int) -> np.ndarray:
    """Adapted indices of all latents, (N, H, W)."""
    walk, found = Walk(adaptation, index, quality), np.zeros_like(index)
    for step in range(STEPS):
        put_step(found, step, walk.indices())
        walk.learn(cells_of_step(y, step))
    return found


class Slow:
    """One latent at a time, in Python's integers."""

    def __init__(self, adaptation: Adaptation, y: np.ndarray, index: np.ndarray, quality: int) -> None:
        self.a, self.y, self.index, self.steps = adaptation, y, index, step_map(*y.shape)
        self.weights = adaptation.weights[(quality + QUALITY_KNOT // 2) // QUALITY_KNOT]

    def score(self, step: int, c: int, i: int, j: int) -> tuple[int, int]:
        """What a latent says before a step: nothing if it is outside, or not known yet."""
        if not (0 <= i < self.y.shape[1] and 0 <= j < self.y.shape[2]) or self.steps[c, i, j] >= step:
            return 0, 0
        level, magnitude = int(self.index[c, i, j]), min(abs(int(self.y[c, i, j])), MAGNITUDE_MAX)
        score = int(self.a.gain[level]) * magnitude - int(self.a.mean[level])
        return min(max(score, -SCORE_MAX), SCORE_MAX), int(self.a.information[level])

    def ratio(self, said: list[tuple[int, int, int]], prior: int) -> int:
        """said: weight, score and information of each latent."""
        score, information = (sum(part[0] * part[n] for part in said) for n in (1, 2))
        return min(max((score << RATIO_SHIFT) // (information + prior), -RATIO_MAX), RATIO_MAX)

    def index_of(self, c: int, i: int, j: int) -> int:
        step, base = int(self.steps[c, i, j]), int(self.index[c, i, j])
        if not step or not base:
            return base
        near = [((2 - abs(di)) * (2 - abs(dj)), di, dj) for di in (-1, 0, 1) for dj in (-1, 0, 1) if di or dj]
        channels, height, width = self.y.shape
        estimates = [
            self.ratio(said, int(prior))
            for prior, said in zip(
                self.a.prior,
                (
                    [(weight, *self.score(step, c, i + di, j + dj)) for weight, di, dj in near],
                    [(1, *self.score(step, other, i, j)) for other in range(channels)],
                    [(1, *self.score(step, c, row, column)) for row in range(height) for column in range(width)],
                ),
                strict=True,
            )
        ]
        constant, *weights = self.weights[step - 1].tolist()
        fraction = RATIO_FRACTION + WEIGHT_FRACTION
        total = constant + sum(w * e for w, e in zip(weights, estimates, strict=True)) + (1 << (fraction - 1))
        return min(max(base + (total >> fraction), 1), LEVELS - 1)


@pytest.mark.parametrize("quality", [0, 549, 551, 1000])
@pytest.mark.parametrize("at_once", [1, 1 << 15])
def test_the_walk_gives_what_one_latent_at_a_time_does(quality, at_once, monkeypatch):
    monkeypatch.setattr(adaptations, "AT_ONCE", at_once)
    (y, index), adaptation = tile(quality, 4, 8, 8), made_adaptation(quality)
    slow = Slow(adaptation, y, index, quality)
    expected = [[[slow.index_of(c, i, j) for j in range(8)] for i in range(4)] for c in range(8)]
    found = walked(adaptation, y, index, quality)
    assert found.tolist() == expected
    assert (found != index).mean() > 0.3


def test_the_cells_of_the_steps_are_those_of_the_step_map():
    steps, back = step_map(8, 4, 6), np.full((8, 4, 6), 9, np.uint8)
    for step in range(STEPS):
        cells = cells_of_step(steps, step)
        assert cells.shape == (8, 2, 3)
        assert (cells == step).all()
        put_step(back, step, cells)
    assert np.array_equal(back, steps)


def test_nothing_but_what_was_decoded_before_moves_an_index():
    (y, index), adaptation = tile(1), made_adaptation(1)
    steps = step_map(*y.shape)
    before = walked(adaptation, y, index, 500)
    for step in range(STEPS):
        other = np.where((steps >= step) & (index > 0), y + 3, y)
        assert np.array_equal(walked(adaptation, other, index, 500)[steps <= step], before[steps <= step])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30), st.sampled_from([0, 300, 60_000]), st.integers(0, 1000), st.booleans())
def test_a_tile_round_trips_under_any_adaptation_whole_and_in_part(seed, strength, quality, large):
    found = coder(made_adaptation(seed, strength))
    rng = np.random.default_rng(seed)
    z = rng.integers(-4, 5, (8, 2, 3)).astype(np.int32)
    reach = found.reach(found.table_indices(LatentCode(np.zeros(0), z, quality)))
    y = np.rint(rng.standard_cauchy(reach.shape) * 3).clip(-reach, reach).astype(np.int32)
    payload = found.encode_tile(LatentCode(y, z, quality))
    with pytest.MonkeyPatch.context() as patch:
        if large:
            patch.setattr(rans, "AT_ONCE", 0)
            patch.setattr(rans, "CHUNK", 1)
        whole = found.decode_tile(payload, quality, 8, 12)
        part = found.decode_tile(payload, quality, 8, 12, (slice(4, 8), slice(0, 8)))
    assert np.array_equal(whole.y, y)
    assert np.array_equal(whole.z, z)
    assert np.array_equal(part.y, y[:, 4:8, 0:8])
    assert found.encode_tile(whole) == payload


def test_the_widest_residuals_can_be_coded_wherever_adaptation_leads():
    found = coder(made_adaptation(2, 3000))
    z = np.zeros((8, 2, 3), np.int32)
    reach = found.reach(found.table_indices(LatentCode(np.zeros(0), z, 1000)))
    y = np.where(np.indices(reach.shape).sum(axis=0) % 2 > 0, reach, -reach)
    code = LatentCode(y.astype(np.int32), z, 1000)
    assert np.array_equal(found.decode_tile(found.encode_tile(code), 1000, 8, 12).y, y)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 1000))
def test_any_bytes_are_refused_or_are_a_tile_of_their_own(data, quality):
    found = coder(made_adaptation(3))
    try:
        code = found.decode_tile(data, quality, 4, 8)
    except BitstreamError:
        return
    assert found.encode_tile(code) == data


def hostile(**parts: np.ndarray) -> dict[str, np.ndarray]:
    return tensors_of(replace(made_adaptation(0), **parts))


def changed(name: str, place: Any, value: int) -> np.ndarray:
    array = getattr(made_adaptation(0), name).copy()
    array[place] = value
    return array


HOSTILE = {
    "nothing divides": (hostile(prior=changed("prior", 1, 0)), "prior_q"),
    "a negative prior": (hostile(prior=changed("prior", 2, -5)), "prior_q"),
    "negative information": (hostile(information=changed("information", 9, -1)), "information_q"),
    "too much information": (hostile(information=changed("information", 9, (1 << 16) + 1)), "information_q"),
    "an index of nothing that gains": (hostile(gain=changed("gain", 0, 1)), "index 0"),
    "an index of nothing that informs": (hostile(information=changed("information", 0, 1)), "index 0"),
    "weights beyond the sums": (hostile(weights=changed("weights", (3, 1, 2), 1 << 30)), "exact below"),
    "a prior beyond the sums": (hostile(prior=changed("prior", 0, SUM_BOUND - 1)), "exact below"),
    "a constant beyond the sums": (hostile(weights=changed("weights", (0, 0, 0), -SUM_BOUND)), "exact below"),
    "a table too short": (hostile(gain=made_adaptation(0).gain[:-1]), "gain_q"),
    "another type": (hostile(mean=made_adaptation(0).mean.astype(np.int64)), "mean_q"),
    "floats": (hostile(weights=made_adaptation(0).weights.astype(np.float32)), "weights_q"),
    "a knot less": (hostile(weights=made_adaptation(0).weights[1:]), "weights_q"),
    "parts missing": ({k: v for k, v in hostile().items() if "gain" in k}, "is missing"),
}


@pytest.mark.parametrize(("tensors", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_adaptation_is_refused(tensors, message, tmp_path):
    kept = stored.read(PLAIN)
    with pytest.raises(CheckpointError, match=message):
        coder_of(kept.family, Parts(kept.config, {**kept.tensors, **tensors}, kept.tables), PLAIN)


@needs("torch")
@pytest.mark.parametrize(("tensors", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_checkpoint_with_a_hostile_adaptation_is_refused(tensors, message, tmp_path):
    from aecodec import checkpoint

    kept, path = stored.read(PLAIN), tmp_path / "hostile.safetensors"
    stored.write(replace(kept, tensors={**kept.tensors, **tensors}), path)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(path)


def test_extremes_within_the_bound_stay_exact():
    """Largest scores, information and weights, of one sign and of both: still what Python's integers give."""
    widest = (np.full(LEVELS, SCORE_MAX) * (np.arange(LEVELS) > 0)).astype(np.int32)
    most = np.minimum(4 * widest, INFORMATION_MAX)
    share = (SUM_BOUND - (LEVELS << 14) - 1) // RATIO_MAX // 3
    for sign in (1, -1):
        weights = np.full((11, 3, 4), sign * share, np.int32)
        weights[..., 0] = 0
        extreme = Adaptation(widest, widest, most, np.array([1, 1, 1], np.int32), weights)
        assert extreme.bound() < SUM_BOUND
        y, index = tile(4, 4, 4, 8)
        slow = Slow(extreme, y, index, 0)
        expected = [[[slow.index_of(c, i, j) for j in range(4)] for i in range(4)] for c in range(8)]
        assert walked(extreme, y, index, 0).tolist() == expected


def test_a_model_without_an_adaptation_has_none():
    assert read_adaptation(stored.read(PLAIN).tensors) is None
    assert read_adaptation(stored.read(ADAPTING).tensors) is not None


@needs("torch")
def test_engines_agree_on_the_integers_of_an_adapting_model(model_file, tmp_path):
    path = adapting(model_file, tmp_path / "adapting.safetensors", made_adaptation(0))
    kinds = {
        "onnx": {"engine": "onnx"},
        "torch": {"engine": "torch", "precision": "float32"},
        "bf16": {"precision": "bfloat16"},
    }
    codecs = {name: Codec.from_pretrained(path, tile=256, **kind) for name, kind in kinds.items()}
    picture = Image.fromarray(natural_picture(270, 300, seed=7))
    for writer in codecs.values():
        for quality in (5, 60):
            parsed = container.parse(writer.encode(picture, quality=quality))
            codes = [list(latent_codes(reader.engine, parsed)) for reader in codecs.values()]
            for tiles in zip(*codes, strict=True):
                assert all(np.array_equal(tiles[0].y, other.y) for other in tiles[1:])
                assert all(np.array_equal(tiles[0].z, other.z) for other in tiles[1:])


@needs("torch")
def test_fitting_takes_bits_off_the_pictures_and_leaves_their_latents_alone(tmp_path):
    import torch
    from small_models import FLAGSHIP, as_batch, small_flagship

    from aecodec import checkpoint

    pictures = [as_batch(natural_picture(192, 256, seed=seed)) for seed in range(3)]
    path, again = tmp_path / "fitted.safetensors", tmp_path / "again.safetensors"
    for out in (path, again):
        model = small_flagship().eval()
        checkpoint.save(model, out, name="fitted", family_name=FLAGSHIP, card={}, calibration=pictures)
    assert stored.read(path).fingerprint == stored.read(again).fingerprint
    kept = stored.read(path)
    plain = {name: array for name, array in kept.tensors.items() if not name.startswith(adaptations.PREFIX)}
    assert len(plain) < len(kept.tensors)
    without = coder_of(kept.family, Parts(kept.config, plain, kept.tables), path)
    loaded = checkpoint.load(path).module
    sizes = np.zeros(2)
    with torch.no_grad():
        for quality in (100, 500, 900):
            code = loaded.quantise(loaded.analyse(pictures[0]), quality)
            payloads = [side.encode_tile(code) for side in (without, loaded)]
            sizes += [len(payload) for payload in payloads]
            back = [
                side.decode_tile(data, quality, 12, 16) for side, data in zip((without, loaded), payloads, strict=True)
            ]
            assert all(np.array_equal(code.y, found.y) for found in back)
    assert sizes[1] < sizes[0]
    loaded.freeze()
    assert not any(name.startswith(adaptations.PREFIX) for name in loaded.state_dict())


@needs("torch")
def test_refining_an_adapting_model_never_costs_more(model_file, tmp_path):
    from aecodec.codec.refine import file_cost
    from aecodec.data.images import Picture

    codec = Codec.from_pretrained(
        adapting(model_file, tmp_path / "adapting.safetensors", made_adaptation(0)), engine="torch"
    )
    picture = Picture(natural_picture(96, 128, seed=3))
    costs = [
        file_cost(codec.engine, picture, codec.encode_picture(picture, quality=40, effort=effort).data)
        for effort in (1, 4)
    ]
    assert costs[1] <= costs[0]
