"""Laws of the picture metrics, and their agreement with the packages whose figures the literature reports."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from extras import needs
from PIL import Image
from places import SAMPLES

from aecodec.contracts import MissingDependencyError
from aecodec.metrics import (
    METRICS,
    BdRateError,
    BjontegaardMissingError,
    Curve,
    DisjointCurvesError,
    NotMonotonicError,
    TooFewPointsError,
    bd_rate,
    common_range,
    cvvdp,
    ms_ssim,
    pooled_psnr,
    psnr,
    ssimulacra2,
)
from aecodec.metrics.cvvdp import _predictor
from aecodec.metrics.ms_ssim import SMALLEST_SIDE
from aecodec.metrics.ssimulacra2 import taps


def _picture(seed: int, *shape: int) -> np.ndarray:
    """A smooth picture with some noise, so that similarities are neither 0 nor 1."""
    rng = np.random.default_rng(seed)
    rows = np.sin(np.linspace(0, 9, shape[0]))[:, None] + np.cos(np.linspace(0, 7, shape[1]))[None, :]
    if len(shape) == 3:
        rows = rows[:, :, None] + np.linspace(0, 1, shape[2])
    return np.clip(128 + 50 * rows + rng.normal(0, 6, shape), 0, 255).astype(np.uint8)


def _noisy(picture: np.ndarray, seed: int, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


#: What some metrics need beside the package.
NEEDED = {"ssimulacra2": needs("torch"), "cvvdp": needs("pycvvdp")}


@pytest.mark.parametrize("shape", [(170, 180), (175, 163, 3), (200, 168, 1)])
@pytest.mark.parametrize("name", [pytest.param(name, marks=NEEDED.get(name, ())) for name in METRICS])
def test_laws_of_every_metric(name: str, shape: tuple[int, ...]) -> None:
    metric, a = METRICS[name].score, _picture(1, *shape)
    near, far = _noisy(a, 2, 5.0), _noisy(a, 3, 25.0)
    if name not in ("ssimulacra2", "cvvdp"):  # edges and the brightness around them are the original's
        assert metric(a, near) == pytest.approx(metric(near, a), rel=1e-6)
    assert metric(a, a) > metric(a, near) > metric(a, far)


def test_a_metric_is_drawn_in_its_unit_or_in_decibels() -> None:
    assert (METRICS["psnr"].drawn(30.0), METRICS["psnr"].drawn_unit) == (30.0, "dB")
    assert (METRICS["ms_ssim"].drawn(0.99), METRICS["ms_ssim"].drawn_unit) == (pytest.approx(20.0), "dB")
    assert (METRICS["cvvdp"].drawn(9.5), METRICS["cvvdp"].drawn_unit) == (9.5, "JOD")
    assert (METRICS["ssimulacra2"].drawn(-3.0), METRICS["ssimulacra2"].drawn_unit) == (-3.0, "")


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_refuses_what_is_no_pair_of_pictures(name: str) -> None:
    a = _picture(1, 170, 180, 3)
    with pytest.raises(ValueError, match="shape"):
        METRICS[name].score(a, a[:-1])
    with pytest.raises(ValueError, match="uint8"):
        METRICS[name].score(a, a.astype(np.float32))


def test_psnr_by_hand() -> None:
    a = np.zeros((2, 2), np.uint8)
    b = np.array([[0, 0], [0, 10]], np.uint8)
    assert psnr(a, a) == math.inf
    assert psnr(a, b) == pytest.approx(10 * math.log10(255**2 / 25))
    # The largest error there is: an unsigned difference would wrap to something else.
    assert psnr(a, np.full((2, 2), 255, np.uint8)) == pytest.approx(0.0)


def test_psnr_agrees_with_scikit_image() -> None:
    skimage_metrics = pytest.importorskip("skimage.metrics")
    a = _picture(4, 61, 83, 3)
    b = _noisy(a, 5, 12.0)
    assert psnr(a, b) == pytest.approx(skimage_metrics.peak_signal_noise_ratio(a, b, data_range=255), abs=1e-9)


def test_pooled_psnr_pools_errors_over_samples_not_decibels() -> None:
    a, small = np.zeros((4, 4), np.uint8), np.zeros((2, 2), np.uint8)
    pairs = [(a, a + np.uint8(2)), (small, small + np.uint8(4))]
    mse = (16 * 4 + 4 * 16) / 20
    assert pooled_psnr(pairs) == pytest.approx(10 * math.log10(255**2 / mse))
    same_size = [(a, a + np.uint8(2)), (a, a + np.uint8(9))]
    assert pooled_psnr(same_size) < np.mean([psnr(*pair) for pair in same_size])
    assert pooled_psnr(pairs[:1]) == psnr(*pairs[0])
    with pytest.raises(ValueError, match="at least one"):
        pooled_psnr([])


@pytest.mark.parametrize("shape", [(161, 161, 3), (256, 192, 3), (187, 311, 3), (192, 200)])
@pytest.mark.parametrize("sigma", [2.0, 30.0])
def test_ms_ssim_agrees_with_pytorch_msssim(shape: tuple[int, ...], sigma: float) -> None:
    torch = pytest.importorskip("torch")
    pytorch_msssim = pytest.importorskip("pytorch_msssim")
    a = _picture(6, *shape)
    b = _noisy(a, 7, sigma)

    def tensor(picture: np.ndarray) -> object:
        return torch.from_numpy(np.atleast_3d(picture)).permute(2, 0, 1)[None].double()

    expected = float(pytorch_msssim.ms_ssim(tensor(a), tensor(b), data_range=255))
    assert ms_ssim(a, b) == pytest.approx(expected, abs=1e-5)


def test_ms_ssim_at_its_limits() -> None:
    a = _picture(8, SMALLEST_SIDE, SMALLEST_SIDE + 30, 3)
    assert ms_ssim(a, a) == pytest.approx(1.0, abs=1e-6)
    assert math.isnan(ms_ssim(a[:-1], a[:-1]))
    assert 0.0 <= ms_ssim(a, 255 - a) < 0.2


def test_importing_the_metrics_does_not_import_torch() -> None:
    code = "import sys, aecodec.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


RATES = np.array([0.1, 0.25, 0.5, 1.0, 2.0])
QUALITIES = np.array([26.0, 29.5, 32.0, 35.5, 39.0])


@pytest.mark.parametrize("factor", [1.1, 1.0, 0.5])
def test_bd_rate_of_a_shifted_curve_is_the_shift(factor: float) -> None:
    pytest.importorskip("bjontegaard")
    reference, tested = Curve(RATES, QUALITIES), Curve(RATES * factor, QUALITIES)
    assert bd_rate(reference, tested) == pytest.approx(100 * (factor - 1), abs=1e-9)


def test_bd_rate_by_hand_over_a_partial_overlap() -> None:
    """Straight lines in log rate: the tested one needs 2^(1/4) and 2^(1/2) of the rate at the ends of [30, 34]."""
    pytest.importorskip("bjontegaard")
    reference_db, tested_db = np.arange(26.0, 35.0, 2.0), np.arange(30.0, 39.0, 2.0)
    reference = Curve(2 ** ((reference_db - 30) / 4), reference_db)
    tested = Curve(2 ** (1 / 4 + (tested_db - 30) * (1 / 4 + 1 / 16)), tested_db)
    assert common_range(reference, tested) == (30.0, 34.0)
    assert bd_rate(reference, tested) == pytest.approx(100 * (2 ** (3 / 8) - 1), abs=1e-9)


def test_bd_rate_agrees_with_bjontegaard_in_any_order_of_points() -> None:
    bjontegaard = pytest.importorskip("bjontegaard")
    rates, qualities = RATES[:4] * [0.9, 0.8, 0.85, 0.8], QUALITIES[:4] + 0.3
    expected = bjontegaard.bd_rate(
        RATES, QUALITIES, rates, qualities, method="pchip", require_matching_points=False, min_overlap=0
    )
    shuffled = Curve(rates[[2, 0, 3, 1]], qualities[[2, 0, 3, 1]])
    assert bd_rate(Curve(RATES, QUALITIES), shuffled) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("tested", "error"),
    [
        (Curve(RATES[:3], QUALITIES[:3]), TooFewPointsError),
        (Curve(RATES, QUALITIES[[0, 2, 1, 3, 4]]), NotMonotonicError),
        (Curve(RATES[[0, 1, 1, 2, 3]], QUALITIES), NotMonotonicError),
        (Curve(RATES * 0, QUALITIES), NotMonotonicError),
        (Curve(RATES, [*QUALITIES[:4], math.inf]), NotMonotonicError),
        (Curve(RATES, QUALITIES + 20), DisjointCurvesError),
        (Curve(RATES, QUALITIES[:4]), BdRateError),
    ],
)
def test_bd_rate_names_what_is_wrong(tested: Curve, error: type[Exception]) -> None:
    with pytest.raises(error):
        bd_rate(Curve(RATES, QUALITIES), tested)


def test_bd_rate_says_which_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bjontegaard", None)
    with pytest.raises(BjontegaardMissingError, match="bjontegaard"):
        bd_rate(Curve(RATES, QUALITIES), Curve(RATES, QUALITIES))


#: Scores of the reference program (SSIMULACRA 2.1, built from its published source) on sample photographs of this
#: repository: levels coarsened to steps of 16, means of 2 x 2 pixels, and everything one pixel to the right.
REFERENCE_SCORES = {
    "beach-reflection.png": {"coarse": 42.3226, "halved": 72.9193, "shifted": 48.9927},
    "blue-flowers.png": {"coarse": 36.9381, "halved": 80.8262, "shifted": 51.3408},
    "city-night.png": {"coarse": 41.9587, "halved": 62.1853, "shifted": -1.8245},
    "osprey.png": {"coarse": 63.4115, "halved": 72.2128, "shifted": 19.3070},
}


def _distorted(picture: np.ndarray, kind: str) -> np.ndarray:
    if kind == "coarse":
        return (picture // 16 * 16 + 8).astype(np.uint8)
    if kind == "shifted":
        return np.roll(picture, 1, axis=1)
    height, width = (side // 2 for side in picture.shape[:2])
    blocks = picture[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).astype(np.int64).sum(axis=(1, 3))
    return np.repeat(np.repeat((blocks + 2) // 4, 2, axis=0), 2, axis=1).astype(np.uint8)


@needs("torch")
@pytest.mark.parametrize("name", REFERENCE_SCORES)
def test_ssimulacra2_agrees_with_its_reference_program(name: str) -> None:
    """Within 0.15: the program's single-precision recursive filter is itself that far from its own definition."""
    with Image.open(SAMPLES / name) as image:
        picture = np.asarray(image.convert("RGB"))
    for kind, score in REFERENCE_SCORES[name].items():
        distorted = _distorted(picture, kind)
        original = picture[: distorted.shape[0], : distorted.shape[1]]
        assert ssimulacra2(original, distorted) == pytest.approx(score, abs=0.15)


@needs("torch")
def test_ssimulacra2_of_equal_grey_and_tiny_pictures() -> None:
    a = _picture(6, 90, 77)
    assert ssimulacra2(a, a) == 100.0
    b = _noisy(a, 7, 9.0)
    assert ssimulacra2(a, b) == pytest.approx(ssimulacra2(*(np.repeat(p[..., None], 3, axis=2) for p in (a, b))))
    assert ssimulacra2(a[:8, :8], b[:8, :8]) < 100.0
    assert math.isnan(ssimulacra2(a[:7], b[:7]))


def test_the_blur_of_ssimulacra2_is_close_to_a_gaussian_and_keeps_the_mean() -> None:
    window = taps()
    offsets = np.arange(len(window)) - len(window) // 2
    gaussian = np.exp(-(offsets**2) / (2 * 1.5**2))
    assert window.sum() == pytest.approx(1.0, abs=1e-12)
    assert (window * offsets**2).sum() == pytest.approx(1.5**2, rel=1e-9)
    assert np.abs(window - gaussian / gaussian.sum()).max() < 0.005


#: What the authors' package, release 0.5.7, says of the same distortions on its standard display.
CVVDP_SCORES = {
    "beach-reflection.png": {"coarse": 9.4012, "halved": 9.6646, "shifted": 9.0088},
    "blue-flowers.png": {"coarse": 9.3021, "halved": 9.9271, "shifted": 9.5429},
}


@needs("pycvvdp")
@pytest.mark.parametrize("name", CVVDP_SCORES)
def test_cvvdp_gives_the_scores_of_its_package(name: str) -> None:
    with Image.open(SAMPLES / name) as image:
        picture = np.asarray(image.convert("RGB"))
    for kind, score in CVVDP_SCORES[name].items():
        distorted = _distorted(picture, kind)
        original = picture[: distorted.shape[0], : distorted.shape[1]]
        assert cvvdp(original, distorted) == pytest.approx(score, abs=0.005)


@needs("pycvvdp")
def test_cvvdp_of_equal_grey_and_tiny_pictures() -> None:
    a = _picture(6, 90, 77)
    assert cvvdp(a, a) == 10.0
    b = _noisy(a, 7, 9.0)
    assert cvvdp(a, b) == pytest.approx(cvvdp(*(np.repeat(p[..., None], 3, axis=2) for p in (a, b))))
    assert cvvdp(a[:16, :16], b[:16, :16]) < 10.0
    assert math.isnan(cvvdp(a[:15], b[:15]))


def test_cvvdp_says_which_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycvvdp", None)
    _predictor.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"aecodec\[cvvdp\]"):
        cvvdp(_picture(6, 20, 20), _picture(7, 20, 20))
