"""Rows about restoration: denoising, inpainting, x2 and colour on photographs, and the field of a toy denoiser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aecodec.data.folders import list_photos
from aecodec.data.images import read_picture
from aecodec.device import has_bfloat16
from aecodec.metrics.psnr import psnr
from aecodec.nn.luma import LUMA
from aecodec.tasks.generate import sheet
from aecodec.tasks.restore import restore, restore_pixels, to_batch, to_pixels

from .running import Bench, Record, write_png

#: Mean PSNR in dB at sigma 15, 25, 50: BSD68 grey from the table of the DnCNN repository (cszn/DnCNN, README), which is
#: Zhang et al. 2017, table II; DnCNN is trained per noise level, DnCNN-B on a range as the model here.
PUBLISHED_BSD68 = {"BM3D": (31.07, 28.57, 25.62), "DnCNN": (31.73, 29.23, 26.23), "DnCNN-B": (31.61, 29.16, 26.23)}
SIGMAS = (15, 25, 50)


def training_photos(bench: Bench) -> Path:
    """A folder of links to the training photographs less those of BSDS500, from which BSD68 comes."""
    folder = bench.runs / "photos"
    folder.mkdir(parents=True, exist_ok=True)
    for path in list_photos(bench.data / "train_photos"):
        link = folder / path.name
        if not path.name.startswith("bsds500") and not link.exists():
            link.symlink_to(path.resolve())
    return folder


def restorer(bench: Bench) -> Any:
    """The model of all four corruptions."""
    return bench.train("restoration", "restoration", training_photos(bench), name_of_model="restorer")


def held_photos(bench: Bench, count: int) -> list[np.ndarray]:
    """Centres of at most 256 x 256 of the photographs that the training kept aside, uint8."""
    from aecodec.data.photos import open_photos

    held = open_photos(training_photos(bench), torch.device("cpu"), 20, 128)[1]
    centres = []
    for number in range(min(count, len(held) if held is not None else 0)):
        pixels = held.picture(number).numpy()  # type: ignore[union-attr]
        top, left = ((side - min(side, 256)) // 2 for side in pixels.shape[:2])
        centres.append(np.ascontiguousarray(pixels[top : top + 256, left : left + 256]))
    return centres


def _noisy(clean: np.ndarray, sigma: int, seed: int) -> np.ndarray:
    """Gaussian noise, rounded and clipped to 8 bits as a file must be."""
    noise = np.random.default_rng(seed).normal(0.0, sigma, clean.shape)
    return np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)


def _non_local_means(noisy: np.ndarray, sigma: int) -> np.ndarray:
    from skimage.restoration import denoise_nl_means

    axis = 2 if noisy.ndim == 3 else None
    done = denoise_nl_means(
        noisy / 255.0,
        sigma=sigma / 255.0,
        h=0.6 * sigma / 255.0,
        patch_size=5,
        patch_distance=6,
        fast_mode=True,
        channel_axis=axis,
    )
    return np.clip(np.rint(done * 255), 0, 255).astype(np.uint8)


def _denoised(model: Any, noisy: torch.Tensor, sigma: float | None) -> np.ndarray:
    """(1, C, H, W) that no file could hold, denoised, as uint8 pixels."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16(torch.device("cpu"))):
        done = restore(model, noisy, "denoise", sigma=sigma)
    return to_pixels(done.mean(1, keepdim=True) if noisy.shape[1] == 1 else done)


def denoising(bench: Bench) -> None:
    """PSNR on Kodak (colour) and BSD68 (grey) at sigma 15, 25, 50: noisy, non-local means, ours, published."""
    model = restorer(bench)
    records: list[Record] = []
    sets = {"kodak": bench.data / "kodak", "bsd68": bench.data / "bsd68"}
    for name, folder in sets.items():
        if not folder.is_dir():
            print(f"  {folder} is not there: row left out")
            continue
        pictures = [read_picture(path).pixels for path in list_photos(folder)]
        for column, sigma in enumerate(SIGMAS):
            found: dict[str, list[float]] = {"noisy": [], "non-local means": [], "ours": [], "estimated": []}
            for seed, clean in enumerate(pictures):
                # Neither rounded nor clipped, as in the published figures; 8-bit files are what the pictures show.
                noise = np.random.default_rng(seed).normal(0.0, sigma, clean.shape)
                noisy = to_batch(clean) + to_batch(noise)
                found["noisy"].append(psnr(to_pixels(noisy), clean))
                for key, level in (("ours", sigma / 255.0), ("estimated", None)):
                    found[key].append(psnr(_denoised(model, noisy, level), clean))
                if seed < 8:
                    found["non-local means"].append(psnr(_non_local_means(clean + noise, sigma), clean))
            record: Record = {
                "data": name,
                "sigma": sigma,
                "pictures": len(pictures),
                "noisy": np.mean(found["noisy"]),
                "ours": np.mean(found["ours"]),
                "ours_sigma_estimated": np.mean(found["estimated"]),
                "ours_first_8": np.mean(found["ours"][:8]),
                "non_local_means_first_8": np.mean(found["non-local means"]),
            }
            if name == "bsd68":
                record |= {f"{key}_published": values[column] for key, values in PUBLISHED_BSD68.items()}
            records.append({key: float(v) if isinstance(v, np.floating) else v for key, v in record.items()})
    bench.keep(
        "denoising",
        records,
        noise="Gaussian, neither rounded nor clipped",
        published="BSD68: README of cszn/DnCNN (Zhang et al. 2017)",
    )
    _draw_denoising(bench, model)


def despeckling(bench: Bench) -> None:
    """PSNR on Kodak with 5, 15 and 30 % of the pixels black or white: speckled, the better of two medians, ours."""
    from scipy.ndimage import median_filter

    model = restorer(bench)
    records: list[Record] = []
    shown: list[torch.Tensor] = []
    pictures = [read_picture(path).pixels for path in list_photos(bench.data / "kodak")]
    for share in (0.05, 0.15, 0.3):
        found: dict[str, list[float]] = {"speckled": [], "median 3x3": [], "median 5x5": [], "ours": []}
        for seed, clean in enumerate(pictures):
            rng = np.random.default_rng(seed)
            speckled = clean.copy()
            hit = rng.random(clean.shape[:2]) < share
            speckled[hit] = 255 * rng.integers(0, 2, (int(hit.sum()), 1))
            found["speckled"].append(psnr(speckled, clean))
            for side in (3, 5):
                found[f"median {side}x{side}"].append(psnr(median_filter(speckled, (side, side, 1)), clean))
            done = restore_pixels(model, speckled, "despeckle", tile=2048)
            found["ours"].append(psnr(done, clean))
            if seed == 22:
                shown += [to_batch(tile[100:292, 150:406]) for tile in (speckled, done)]
        means = {key: float(np.mean(values)) for key, values in found.items()}
        median = max(means.pop("median 3x3"), means.pop("median 5x5"))
        records.append({"data": "kodak", "pixels_hit": share, **means, "better median": median})
    bench.keep("despeckling", records)
    write_png(sheet(torch.cat(shown), 2), bench.out / "despeckling.png")


def _draw_denoising(bench: Bench, model: Any) -> None:
    clean = read_picture(list_photos(bench.data / "kodak")[22]).pixels[100:292, 150:406]
    tiles = []
    for sigma in SIGMAS:
        noisy = _noisy(clean, sigma, 0)
        tiles += [noisy, restore_pixels(model, noisy, "denoise", sigma=float(sigma))]
    write_png(sheet(torch.cat([to_batch(tile) for tile in tiles]), 2), bench.out / "denoising.png")


def inpainting(bench: Bench) -> None:
    """PSNR inside the hole on held-out photographs: mean fill, biharmonic, ours; a 32-pixel square and scribbles."""
    from skimage.restoration import inpaint_biharmonic

    from aecodec.nn.corruptions import draw_scribble

    model = restorer(bench)
    records: list[Record] = []
    shown: list[np.ndarray] = []
    photos = held_photos(bench, 20)
    for kind in ("square 16", "square 32", "scribble"):
        found: dict[str, list[float]] = {"mean fill": [], "biharmonic": [], "ours": []}
        for seed, clean in enumerate(photos):
            mask = np.zeros(clean.shape[:2], bool)
            if kind == "scribble":
                drawn = draw_scribble(torch.zeros(1, 1, *mask.shape), torch.Generator().manual_seed(seed))
                mask = drawn[0, 0].numpy() > 0
            else:
                side = int(kind.split()[1])
                rng = np.random.default_rng(seed)
                top, left = (int(rng.integers(8, extent - side - 8)) for extent in mask.shape)
                mask[top : top + side, left : left + side] = True
            damaged = clean.copy()
            damaged[mask] = 0
            mean = damaged.copy()
            mean[mask] = np.rint(clean[~mask].mean(0))
            smooth = inpaint_biharmonic(damaged / 255.0, mask, channel_axis=2, split_into_regions=True)
            smooth = np.clip(np.rint(smooth * 255), 0, 255).astype(np.uint8)
            ours = restore_pixels(model, damaged, "inpaint", mask=mask)
            for key, done in (("mean fill", mean), ("biharmonic", smooth), ("ours", ours)):
                found[key].append(psnr(done[mask][None], clean[mask][None]))
            if seed in (1, 4) and kind != "square 16":
                damaged[mask] = 255
                shown += [damaged, smooth, ours]
        records.append({"hole": kind, "photos": len(photos), **{key: float(np.mean(v)) for key, v in found.items()}})
    bench.keep("inpainting", records)
    side = min(min(tile.shape[:2]) for tile in shown)
    batch = torch.cat([to_batch(tile[:side, :side]) for tile in shown])
    write_png(sheet(batch, 3), bench.out / "inpainting.png")


def upscaling(bench: Bench) -> None:
    """PSNR of x2 on held-out photographs and Kodak, beside bicubic, and of colourising, beside grey."""
    from aecodec.nn.corruptions import double, halve

    model = restorer(bench)
    records: list[Record] = []
    shown: list[torch.Tensor] = []
    sets: dict[str, list[np.ndarray]] = {
        "held-out photos": held_photos(bench, 20),
        "kodak": [read_picture(path).pixels for path in list_photos(bench.data / "kodak")],
    }
    for name, pictures in sets.items():
        found: dict[str, list[float]] = {"bicubic": [], "ours": [], "grey": [], "colourised": []}
        for seed, whole in enumerate(pictures):
            clean = whole[: whole.shape[0] // 2 * 2, : whole.shape[1] // 2 * 2]
            small = to_pixels(halve(to_batch(clean)))
            bicubic, ours = to_pixels(double(to_batch(small))), restore_pixels(model, small, "upscale", tile=2048)
            found["bicubic"].append(psnr(bicubic, clean))
            found["ours"].append(psnr(ours, clean))
            grey = np.rint(clean @ np.array(LUMA)).astype(np.uint8)
            colours = restore_pixels(model, grey, "colourise", tile=2048)
            if (clean != grey[..., None]).any():
                found["grey"].append(psnr(np.repeat(grey[..., None], 3, 2), clean))
                found["colourised"].append(psnr(colours, clean))
            if name == "kodak" and seed in (2, 22):
                cut = slice(60, 252), slice(200, 392)
                shown += [to_batch(picture[cut]) for picture in (bicubic, ours, clean)]
                shown += [to_batch(np.repeat(grey[..., None], 3, 2)[cut]), to_batch(colours[cut]), to_batch(clean[cut])]
        means = {key: float(np.mean(values)) for key, values in found.items()}
        records.append({"data": name, "pictures": len(pictures), "in_colour": len(found["grey"]), **means})
    bench.keep("upscaling", records)
    write_png(sheet(torch.cat(shown), 6), bench.out / "upscaling.png")


def unet(bench: Bench) -> None:
    """The same network with and without skip connections, the same short training: PSNR at sigma 25."""
    records: list[Record] = []
    photos = held_photos(bench, 20)
    shown = [to_batch(photos[1]), to_batch(_noisy(photos[1], 25, 1))]
    for skips in (False, True):
        model = bench.train(
            f"unet-{'skips' if skips else 'plain'}",
            "restoration",
            training_photos(bench),
            size="denoiser",
            steps=1500,
            batch=16,
            model__widths=[24, 48, 64],
            model__blocks=1,
            model__skips=skips,
        )
        found = []
        for seed, clean in enumerate(photos):
            done = restore_pixels(model, _noisy(clean, 25, seed), "denoise", sigma=25.0)
            found.append(psnr(done, clean))
            if seed == 1:
                shown.append(to_batch(done))
        records.append(
            {
                "skip_connections": str(skips),
                "parameters": sum(p.numel() for p in model.parameters()),
                "psnr_sigma_25": float(np.mean(found)),
            }
        )
    noisy = [psnr(_noisy(clean, 25, seed), clean) for seed, clean in enumerate(photos)]
    records.append({"skip_connections": "noisy input", "parameters": 0, "psnr_sigma_25": float(np.mean(noisy))})
    bench.keep("unet", records)
    write_png(sheet(torch.cat(shown), 4), bench.out / "unet.png")


def field(bench: Bench) -> None:
    """A denoiser of points near a spiral: its change points back to the curve, as the score of the density does."""
    rng = np.random.default_rng(0)

    def spiral(turn: np.ndarray) -> np.ndarray:
        angle = 0.5 * np.pi + 3.0 * np.pi * turn
        radius = 0.08 + 0.32 * turn
        return np.stack([0.5 + radius * np.cos(angle), 0.5 + radius * np.sin(angle)], 1)

    points = spiral(np.sqrt(rng.random(20000)))
    bench.runs.mkdir(parents=True, exist_ok=True)
    source = bench.runs / "spiral.npz"
    np.savez(source, items=points.astype(np.float32)[:, :, None, None])
    sigma = 0.04
    model = bench.train(
        "field",
        "autoencoder",
        source,
        model__latents=64,
        model__hidden=[128, 128],
        model__noise=sigma,
        steps=3000,
        autocast=False,
    )
    grid = np.stack(np.meshgrid(np.linspace(0.02, 0.98, 25), np.linspace(0.02, 0.98, 25)), -1).reshape(-1, 2)
    change = _change(model)(grid)
    test = spiral(np.sqrt(rng.random(2000)))
    noisy = test + rng.normal(0.0, sigma, test.shape)
    curve = spiral(np.linspace(0.0, 1.0, 4000))

    def away(from_: np.ndarray) -> float:
        return float(np.sqrt(((from_[:, None] - curve[None, ::4]) ** 2).sum(2).min(1).mean()))

    records: list[Record] = [
        {
            "sigma": sigma,
            "rms_distance_to_curve_noisy": away(noisy),
            "rms_distance_to_curve_denoised": away(noisy + _change(model)(noisy)),
            "rms_error_noisy": float(np.sqrt(((noisy - test) ** 2).sum(1).mean())),
            "rms_error_denoised": float(np.sqrt(((noisy + _change(model)(noisy) - test) ** 2).sum(1).mean())),
        }
    ]
    bench.keep("field", records)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 5))
    axes.plot(*curve.T, color="tab:red", linewidth=1.5)
    axes.quiver(*grid.T, *change.T, angles="xy", scale_units="xy", scale=1.0, width=0.003)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", title="denoised minus input, and the manifold")
    figure.tight_layout()
    figure.savefig(bench.out / "field.png", dpi=90)
    pyplot.close(figure)


def _change(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    """What the model adds to points (n, 2)."""

    def change(points: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(points.astype(np.float32))[:, :, None, None]
        with torch.no_grad():
            return (model.reconstruct(x) - x)[:, :, 0, 0].numpy()

    return change
