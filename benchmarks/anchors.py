"""Rate-distortion points of Kodak that others published, and how far ours are from them where settings are equal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aecodec.bench.tables import Point
from aecodec.contracts import UsageError
from aecodec.data.records import read_object
from aecodec.metrics import Curve

KODAK = frozenset(f"kodim{number:02d}" for number in range(1, 25))

#: Published curves that ours is compared with: key in the anchors -> label.
PUBLISHED = {
    "vtm": "VTM (VVC intra)",
    "bpg_444_x265_ycbcr": "BPG 4:4:4 (x265)",
    "jxl_e7": "JPEG XL (libjxl, effort 7)",
    "compressai-bmshj2018-hyperprior_mse_cuda": "hyperprior (Ballé et al. 2018, CompressAI)",
    "compressai-mbt2018-mean_mse_cuda": "mean-scale hyperprior (Minnen et al. 2018, CompressAI)",
}

#: Our codec -> the classical anchor of the same settings, measured with the same libraries.
CLASSICAL = {
    "jpeg420": "jpeg420",
    "jpeg444": "jpeg444",
    "webp": "webp",
    "jpeg2000": "jpeg2000",
    "avif": "avif_s4_444_psnr",
    "jxl": "jxl_e7",
    "heic": "heic_x265_444",
    "mozjpeg": "mozjpeg420",
    "vvc": "vvc_vvenc_medium",
}

#: Our codec -> the curve of CompressAI's benchmark with the same settings, and the qualities of its points.
COMPRESSAI: dict[str, tuple[str, Sequence[int]]] = {
    "jpeg": ("jpeg", range(5, 100, 5)),
    "webp-default": ("webp", range(5, 100, 5)),
    "jpeg2000-ffmpeg": ("jpeg2000", range(95, 0, -5)),
}


@dataclass(frozen=True)
class Tolerance:
    """Largest differences at which two points still count as the same. bpp: relative; psnr: decibels."""

    bpp: float
    psnr: float


#: Same libraries; other releases of the same encoders, years apart.
SAME_LIBRARY, OTHER_RELEASE = Tolerance(0.005, 0.05), Tolerance(0.01, 0.15)


@dataclass(frozen=True)
class Agreement:
    """The largest differences of a codec's points from a published curve. bpp: relative; psnr: decibels."""

    codec: str
    source: str
    points: int
    bpp: float
    psnr: float
    tolerance: Tolerance

    @property
    def holds(self) -> bool:
        """Some point was compared and none differs by more than the tolerance."""
        return self.points > 0 and self.bpp <= self.tolerance.bpp and self.psnr <= self.tolerance.psnr


@dataclass(frozen=True)
class Anchors:
    """classical, compressai: key -> points with q, bpp and psnr. published: curves of PUBLISHED by key."""

    classical: dict[str, list[dict[str, float]]]
    compressai: dict[str, list[dict[str, float]]]
    published: dict[str, Curve]

    def checks(self, results: Mapping[str, Sequence[Point]]) -> list[Agreement]:
        """Every codec that somebody measured with the same settings, against those points."""
        found = []
        for name, points in results.items():
            classical, theirs = self.classical.get(CLASSICAL.get(name, "")), self.compressai.get(name)
            if classical:
                found.append(agreement(name, "classical codecs", points, classical, SAME_LIBRARY))
            if theirs:
                found.append(agreement(name, "CompressAI", points, theirs, OTHER_RELEASE))
        return found


def load_anchors(folder: Path) -> Anchors:
    """From the folder's kodak_classical.json and kodak_anchors.json. Raises UsageError if one cannot be read."""
    classical: dict[str, Any] = read_object(folder / "kodak_classical.json", UsageError).get("codecs", {})
    published = read_object(folder / "kodak_anchors.json", UsageError)
    points = {key: entry["points"] for key, entry in classical.items()}
    curves = {}
    for key in PUBLISHED:
        if key in published:
            curves[key] = Curve(published[key]["bpp"], published[key]["psnr"])
        elif key in points:
            curves[key] = Curve([p["bpp"] for p in points[key]], [p["psnr"] for p in points[key]])
    theirs = {
        name: [
            {"q": float(q), "bpp": bpp, "psnr": psnr}
            for q, bpp, psnr in zip(qualities, published[key]["bpp"], published[key]["psnr"], strict=True)
        ]
        for name, (key, qualities) in COMPRESSAI.items()
        if key in published
    }
    return Anchors(points, theirs, curves)


def agreement(
    codec: str, source: str, points: Iterable[Point], anchor: Iterable[Mapping[str, float]], tolerance: Tolerance
) -> Agreement:
    """Compare at the qualities that both have. anchor: mappings with q, bpp and psnr, means over the same pictures."""
    expected = {float(a["q"]): a for a in anchor}
    pairs = [(p, expected[p.quality]) for p in points if p.quality in expected]
    return Agreement(
        codec,
        source,
        len(pairs),
        max((abs(p.bpp / a["bpp"] - 1) for p, a in pairs), default=0.0),
        max((abs(p.scores["psnr"] - a["psnr"]) for p, a in pairs), default=0.0),
        tolerance,
    )


def agreement_table(results: Iterable[Agreement]) -> str:
    """Markdown."""
    lines = [
        "| codec | against | points | largest bpp difference | limit | largest PSNR difference | limit | agrees |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {a.codec} | {a.source} | {a.points} | {a.bpp:.4%} | {a.tolerance.bpp:.1%} "
        f"| {a.psnr:.4f} dB | {a.tolerance.psnr} dB | {'yes' if a.holds else '**NO**'} |"
        for a in results
    ]
    return "\n".join(lines)
