"""How fast pictures are encoded and decoded on a device: files of ours against compressai's networks, in one run.

    python benchmarks/throughput.py PICTURES --device cuda [--sizes 1920x1080,3840x2160] [--batches 1,16] [--compile]

Pictures are mosaics of those in the folder, of exactly the sizes asked for. A batch of ours is so many pictures under
way at once, each from pixels in host memory to the bytes of an .aec file and back (container, checksums and entropy
coding included); compressai's networks take a batch as one tensor on the device and give strings without a container.
Their weights are random unless given (ARCHITECTURE=CHECKPOINT): the cost of the transforms does not depend on them, but
that of entropy coding does. With --check every picture of the folder is encoded on the CPU and on the device at every
--check-qualities, and each file decoded on both: the latents must be equal.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from aecodec.bench import provenance
from aecodec.bench.measurements import pictures_in, read_rgb, write_records
from aecodec.codec.codec import Codec
from aecodec.codec.tiles import latent_codes
from aecodec.coding import container
from aecodec.contracts import AecodecError
from aecodec.data.images import Picture
from aecodec.device import pick_device

PEERS = ("mbt2018-mean", "cheng2020-anchor")
#: compressai's quality whose width is that of its published mid-rate points.
PEER_QUALITY = 4


def mosaic(pictures: list[np.ndarray], width: int, height: int) -> np.ndarray:
    """Pictures repeated row by row until they cover (height, width, 3) uint8."""
    rows: list[np.ndarray] = []
    number, covered = 0, 0
    while covered < height:
        tall = min(len(picture) for picture in pictures)
        row: list[np.ndarray] = []
        while sum(part.shape[1] for part in row) < width:
            row.append(pictures[number % len(pictures)][:tall])
            number += 1
        rows.append(np.concatenate(row, 1)[:, :width])
        covered += tall
    return np.ascontiguousarray(np.concatenate(rows)[:height])


def timed(call: Callable[[], Any], device: torch.device, seconds: float) -> tuple[float, Any]:
    """The median time of one call, after one that warms up, over at least three of them and so many seconds."""

    def once() -> tuple[float, Any]:
        begin = time.perf_counter()
        result = call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begin, result

    result = once()[1]
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        times.append(once()[0])
    return float(np.median(times)), result


def ours(codec: Codec, pixels: np.ndarray, batch: int, seconds: float) -> tuple[float, float, int]:
    """Seconds to encode a batch, to decode it, and the bytes of one file."""
    with ThreadPoolExecutor(min(batch, 8)) as pool:

        def encode() -> list[bytes]:
            return list(pool.map(lambda _: codec.encode_picture(Picture(pixels), effort=1).data, range(batch)))

        encoding, files = timed(encode, codec.engine.device, seconds)
        decoding = timed(lambda: list(pool.map(codec.decode_picture, files)), codec.engine.device, seconds)[0]
    return encoding, decoding, len(files[0])


def peer(
    architecture: str, weights: Path | None, pixels: np.ndarray, batch: int, device: torch.device, seconds: float
) -> tuple[float, float, int]:
    """As `ours`, of a network of compressai; the bytes are those of its strings."""
    from compressai.zoo import image_models, load_state_dict

    torch.manual_seed(0)
    network = image_models[architecture](quality=PEER_QUALITY, pretrained=False)
    if weights is not None:
        state = load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        network = type(network).from_state_dict(state)
    network.update()
    network.eval().to(device)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255.0
    x = torch.nn.functional.pad(x, (0, -x.shape[3] % 64, 0, -x.shape[2] % 64), mode="replicate")
    x = x.expand(batch, -1, -1, -1).contiguous()
    with torch.inference_mode():
        encoding, coded = timed(lambda: network.compress(x.to(device)), device, seconds)
        decoding = timed(lambda: network.decompress(coded["strings"], coded["shape"])["x_hat"].cpu(), device, seconds)[
            0
        ]
    return encoding, decoding, sum(len(strings[0]) for strings in coded["strings"])


def measure(
    codec: Codec,
    peers: list[str],
    weights: dict[str, str],
    pixels: np.ndarray,
    batch: int,
    device: torch.device,
    seconds: float,
) -> list[dict[str, Any]]:
    """A record for our codec and for each peer, printed as well; ratios are of times over ours."""
    found = {codec.name: ours(codec, pixels, batch, seconds)}
    for name in peers:
        path = Path(weights[name]) if name in weights else None
        found[f"compressai-{name}"] = peer(name, path, pixels, batch, device, seconds)
    height, width = pixels.shape[:2]
    millions = batch * height * width / 1e6
    best = found[codec.name]
    records = []
    for name, (encoding, decoding, length) in found.items():
        record = {
            "codec": name,
            "size": f"{width}x{height}",
            "batch": batch,
            "encode_s": encoding,
            "decode_s": decoding,
            "encode_mpx_per_s": millions / encoding,
            "decode_mpx_per_s": millions / decoding,
            "encode_ratio": encoding / best[0],
            "decode_ratio": decoding / best[1],
            "bytes": length,
        }
        records.append({key: f"{value:.4g}" if isinstance(value, float) else value for key, value in record.items()})
        print(records[-1], flush=True)
    return records


def check(pictures: list[np.ndarray], device: str, qualities: list[float], model: str | None) -> int:
    """How many files had latents that depended on where they were written or read (0 is the promise)."""
    codecs = [Codec.from_pretrained(model, device=place, engine="torch") for place in ("cpu", device)]
    wrong = 0
    for pixels in pictures:
        for quality in qualities:
            for writer in codecs:
                data = writer.encode_picture(Picture(pixels), quality=quality, effort=1).data
                first, second = (latents(codec, data) for codec in codecs)
                wrong += any(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    return wrong


def latents(codec: Codec, data: bytes) -> list[np.ndarray]:
    """The integers, y then z, of a file of one tile as the codec's device decodes them."""
    parsed = container.parse(data)
    if len(parsed.tiles) != 1:
        raise click.ClickException("--check takes pictures of one tile; these are larger")
    (code,) = latent_codes(codec.engine, parsed)
    return [np.asarray(code.y), np.asarray(code.z)]


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("pictures", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--device", default="auto", show_default=True)
@click.option("--model", help="Name or path; the default model unless given.")
@click.option("--precision", default="auto", show_default=True)
@click.option("--compile", "compiled", is_flag=True, help="torch.compile our transforms.")
@click.option("--sizes", default="1920x1080,3840x2160", show_default=True)
@click.option("--batches", default="1,16", show_default=True)
@click.option("--peers", default=",".join(PEERS), show_default=True, help="Architectures; empty for none.")
@click.option("--weights", multiple=True, metavar="ARCHITECTURE=PATH", help="Of a peer; random ones otherwise.")
@click.option("--seconds", type=float, default=3.0, show_default=True, help="Per measurement, at least.")
@click.option("--check", "checked", is_flag=True, help="Compare latents between the CPU and the device.")
@click.option("--check-qualities", default="0,15,30,45,70,100", show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("benchmarks/results/throughput"))
def main(
    pictures: Path,
    device: str,
    model: str | None,
    precision: str,
    compiled: bool,
    sizes: str,
    batches: str,
    peers: str,
    weights: tuple[str, ...],
    seconds: float,
    checked: bool,
    check_qualities: str,
    out: Path,
) -> None:
    try:
        place = pick_device(device)
        sources = [np.asarray(read_rgb(path)) for path in pictures_in(pictures)]
        codec = Codec.from_pretrained(model, device=str(place), precision=precision, engine="torch")
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    module: Any = codec.engine.module
    if compiled:
        module.analysis.compile()
        module.synthesis.compile()
    given = dict(item.split("=", 1) for item in weights)
    records = []
    for size in sizes.split(","):
        pixels = mosaic(sources, *(int(side) for side in size.split("x")))
        for batch in (int(text) for text in batches.split(",")):
            records += measure(codec, [*filter(None, peers.split(","))], given, pixels, batch, place, seconds)
    out.mkdir(parents=True, exist_ok=True)
    write_records(out / "throughput.csv", list(records[0]), records)
    more: dict[str, Any] = {"device": str(place), "precision": precision, "compiled": compiled, "weights": given}
    if place.type == "cuda":
        more["device"] = torch.cuda.get_device_name(place)
    if checked:
        qualities = [float(text) for text in check_qualities.split(",")]
        more["files_with_other_latents"] = check(sources, str(place), qualities, model)
        more["files_checked"] = 2 * len(sources) * len(qualities)
        print(f"{more['files_with_other_latents']} of {more['files_checked']} files differ between cpu and {place}")
    (out / "throughput.json").write_text(json.dumps(provenance.collect(**more), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
