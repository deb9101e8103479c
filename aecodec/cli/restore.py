"""``aecodec restore``: pictures denoised, inpainted, upscaled and colourised, recordings denoised."""

from __future__ import annotations

from pathlib import Path

import click

from ..contracts import UsageError
from ..zoo.registry import DEFAULT_RESTORER, DEFAULT_SPEECH
from .numbers import Real, parse_rectangle
from .output import notice, say
from .writing import check_outputs

TASK_NAMES = ("denoise", "inpaint", "upscale", "colourise", "despeckle")


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--task", required=True, help=f"One of {', '.join(TASK_NAMES)}.")
@click.option("--sigma", type=Real(0, 255), help="Strength of the noise in levels; estimated by default.")
@click.option("--mask", type=click.Path(path_type=Path), help="Picture that is white where pixels are missing.")
@click.option("--box", metavar="LEFT,TOP,WIDTH,HEIGHT", help="Rectangle of missing pixels.")
@click.option("-m", "--model", help="Model by name or path; restorer or, for recordings, speech-denoiser by default.")
@click.option("--device", default="auto", show_default=True)
@click.option("-f", "--force", is_flag=True, help="Overwrite the target.")
def restore(
    source: Path,
    target: Path,
    task: str,
    sigma: float | None,
    mask: Path | None,
    box: str | None,
    model: str | None,
    device: str,
    force: bool,
) -> None:
    """Restore the picture SOURCE, of any size, into TARGET; upscale doubles its sides.

    inpaint replaces the pixels of --mask or --box and leaves all others untouched. With --task denoise SOURCE may be a
    WAV file (mono, 16 bits, 8 kHz).
    """
    from ..contracts import Restorer
    from ..device import pick_device
    from ..tasks.loading import load_for
    from ..tasks.restore import box_mask, corruption_of, read_mask, restore_picture

    corruption_of(task)
    if (mask is not None or box is not None) != (task == "inpaint") or (mask is not None and box is not None):
        raise UsageError("inpaint needs either --mask or --box, which the other tasks do not take")
    check_outputs([(target, str(source))], overwrite=force, inputs=[source, mask, model])
    place = pick_device(device)
    if source.suffix.lower() == ".wav":
        if task != "denoise" or sigma is not None:
            raise UsageError("a recording can be denoised only, and takes no --sigma")
        _, net = load_for("restoration", Restorer, model or DEFAULT_SPEECH, place)
        return _recording(net, source, target, force)
    from ..data.images import read_picture, write_picture

    _, net = load_for("restoration", Restorer, model or DEFAULT_RESTORER, place)
    picture = read_picture(source)
    for text in picture.notices:
        notice(text)
    size = picture.pixels.shape[:2]
    missing = None
    if task == "inpaint":
        if mask is not None:
            missing = read_mask(mask, *size)
        else:
            missing = box_mask(parse_rectangle(box or "", "--box", "LEFT,TOP,WIDTH,HEIGHT"), *size)
    result = restore_picture(net, picture, task, sigma=sigma, mask=missing, device=place)
    write_picture(result, target, overwrite=force, sources=[source])
    say(f"{target}: {result.pixels.shape[1]}x{result.pixels.shape[0]}")
    return None


def _recording(net: object, source: Path, target: Path, force: bool) -> None:
    from ..data.speech import RATE, read_wav, write_wav
    from ..tasks.speech import denoise_speech

    cleaned = denoise_speech(net, read_wav(source))  # type: ignore[arg-type]
    write_wav(cleaned, target, overwrite=force, sources=[source])
    say(f"{target}: {len(cleaned) / RATE:.2f} s")
