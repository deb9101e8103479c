"""Seconds of the analysis and the synthesis of one picture by each engine that could compute them, in one run.

    python benchmarks/engines.py [--picture FILE] [--size 768x512] [--runs 15] [--out FOLDER]

ONNX Runtime and OpenVINO run the graphs that the checkpoint holds, torch its module, channels last. One thread each;
the engines take turns, and medians of the rounds are kept. Engines other than ONNX Runtime are measured where their
packages are installed, those in bfloat16 where the processor has it. The difference is the largest between an engine's
pixels, before they are rounded, and ONNX Runtime's from the same latents, in grey levels.
"""

from __future__ import annotations

import io
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from aecodec.bench import provenance
from aecodec.bench.measurements import read_rgb, write_records
from aecodec.codec.quality import step_of
from aecodec.contracts import AecodecError, CheckpointError
from aecodec.engine.networks import OnnxNetworks
from aecodec.engine.opening import limit_threads, open_engine
from aecodec.latents import coder_of
from aecodec.latents.protocol import LatentCoder, Networks, Parts
from aecodec.zoo import stored
from aecodec.zoo.registry import find_model
from aecodec.zoo.stored import Stored

SAMPLE = Path(__file__).resolve().parents[1] / "scripts" / "samples" / "osprey.png"
STEPS = ("analysis", "synthesis")
COLUMNS = ("engine", "analysis_s", "analysis_cpu_s", "synthesis_s", "synthesis_cpu_s", "difference")
#: The packages whose versions matter here.
PACKAGES = ("onnxruntime", "torch", "openvino", "onnx")


@dataclass(frozen=True)
class Transforms:
    """An engine's two networks. analyse: x (1, 3, H, W) float32 in [0, 1] -> y (N, h, w) float32; synthesise: y_hat
    (N, h, w) float32 -> x_hat (3, H, W) float32, not clipped."""

    name: str
    analyse: Callable[[np.ndarray], np.ndarray]
    synthesise: Callable[[np.ndarray], np.ndarray]


class OpenVinoNetworks:
    """See `aecodec.latents.protocol.Networks`; the graphs of a checkpoint run by OpenVINO, in one thread."""

    def __init__(self, kept: Stored, precision: str) -> None:
        """precision: "f32" or "bf16". Needs the packages openvino and onnx."""
        self._kept, self._precision = kept, precision
        self._compiled: dict[str, Any] = {}

    def __call__(self, name: str, /, **inputs: np.ndarray) -> np.ndarray:
        import openvino

        if name not in self._compiled:
            model = openvino.convert_model(io.BytesIO(with_weights(self._kept, name)))
            settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": self._precision}
            self._compiled[name] = openvino.Core().compile_model(model, "CPU", settings)
        result: np.ndarray = self._compiled[name]({key: np.ascontiguousarray(v) for key, v in inputs.items()})[0]
        return result


def with_weights(kept: Stored, name: str) -> bytes:
    """A graph of a checkpoint with its weights in it, as other programs want it. Needs the package onnx."""
    import onnx

    model = onnx.load_from_string(kept.graphs[name])
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            array = kept.tensors[tensor.name]
            array = array.astype(np.float32) if array.dtype == np.float16 else np.ascontiguousarray(array)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    whole: bytes = model.SerializeToString()
    return whole


def of_networks(name: str, networks: Networks, coder: LatentCoder, quality: int) -> Transforms:
    """What runs a checkpoint's graphs."""
    return Transforms(
        name, lambda x: networks("analysis", x=x)[0], lambda y_hat: coder.synthesise(networks, y_hat, quality)
    )


def of_torch(path: Path, precision: str, quality: int) -> Transforms:
    """The checkpoint's module, channels last, in "float32" or "bfloat16"."""
    import torch

    from aecodec.engine.opening import open_torch

    engine: Any = open_torch(path, "cpu", precision)
    engine.module.to(memory_format=torch.channels_last)

    def run(method: Callable[..., Any], x: np.ndarray, *rest: int) -> np.ndarray:
        with torch.inference_mode(), engine.transforms(encoding=True):
            tensor = torch.from_numpy(x).contiguous(memory_format=torch.channels_last)
            result: np.ndarray = method(tensor, *rest)[0].float().contiguous().numpy()
        return result

    return Transforms(
        f"torch, {precision}, channels last",
        lambda x: run(engine.module.analyse, x),
        lambda y_hat: run(engine.module.synthesise, y_hat[None], quality),
    )


def engines(path: Path, quality: int) -> tuple[list[Transforms], dict[str, str]]:
    """What can be measured here, ONNX Runtime first; and what cannot, with the reason.

    Raises CheckpointError for a model without graphs, or one that codes no pictures.
    """
    kept = stored.read(path)
    if not kept.graphs:
        raise CheckpointError(f"{path}: holds no graphs; `aecodec models export --onnx` writes them")
    coder = coder_of(kept.family, Parts(kept.config, kept.tensors, kept.tables), path)
    found = [of_networks("ONNX Runtime, float32", OnnxNetworks(kept, path), coder, quality)]
    left_out: dict[str, str] = {}
    if find_spec("torch"):
        import torch

        from aecodec.device import has_bfloat16

        found.append(of_torch(path, "float32", quality))
        if has_bfloat16(torch.device("cpu")):
            found.append(of_torch(path, "bfloat16", quality))
        else:
            left_out["torch, bfloat16"] = "the processor has no bfloat16"
    else:
        left_out["torch"] = "torch is not installed"
    if missing := [name for name in ("openvino", "onnx") if not find_spec(name)]:
        left_out["OpenVINO"] = f"{', '.join(missing)} not installed"
    else:
        import openvino

        found.append(of_networks("OpenVINO, float32", OpenVinoNetworks(kept, "f32"), coder, quality))
        if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            found.append(of_networks("OpenVINO, bfloat16", OpenVinoNetworks(kept, "bf16"), coder, quality))
        else:
            left_out["OpenVINO, bfloat16"] = "the processor has no bfloat16"
    return found, left_out


def timed(call: Callable[[np.ndarray], np.ndarray], given: np.ndarray) -> tuple[float, float]:
    """Seconds on the clock and of CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    call(given)
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(found: list[Transforms], x: np.ndarray, y_hat: np.ndarray, runs: int) -> list[dict[str, Any]]:
    """A record for each engine: medians of the rounds. x, y_hat: as of `Transforms`."""
    expected = found[0].synthesise(y_hat)
    differences = [255.0 * float(np.abs(each.synthesise(y_hat) - expected).max()) for each in found]
    for each in found:
        each.analyse(x)  # warms up, as the synthesis is already
    times: dict[str, list[tuple[float, float, float, float]]] = {each.name: [] for each in found}
    for _ in range(runs):
        for each in found:
            times[each.name].append((*timed(each.analyse, x), *timed(each.synthesise, y_hat)))
    medians = {name: [*map(statistics.median, zip(*rows, strict=True))] for name, rows in times.items()}
    return [
        dict(zip(COLUMNS, (each.name, *medians[each.name], apart), strict=True))
        for each, apart in zip(found, differences, strict=True)
    ]


def table(records: list[dict[str, Any]]) -> str:
    """Markdown: a row for each engine."""
    lines = [
        "| engine | analysis s (wall / CPU) | synthesis s (wall / CPU) | largest difference, grey levels |",
        "|---|---|---|---|",
    ]
    for row in records:
        analysis, synthesis = (f"{row[f'{name}_s']:.4f} / {row[f'{name}_cpu_s']:.4f}" for name in STEPS)
        lines.append(f"| {row['engine']} | {analysis} | {synthesis} | {row['difference']:.2g} |")
    return "\n".join(lines)


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--picture", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=SAMPLE)
@click.option("--size", default="768x512", show_default=True, help="The picture is scaled to it.")
@click.option("--model", help="Name or path; the default model unless given.")
@click.option("--quality", type=click.IntRange(0, 100), default=50, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=15, show_default=True, help="Rounds.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("benchmarks/results/engines"))
def main(picture: Path, size: str, model: str | None, quality: int, runs: int, out: Path) -> None:
    width, height = (int(side) for side in size.split("x"))
    step = step_of(quality)
    try:
        path = find_model(model)
        pixels = np.asarray(Image.fromarray(np.asarray(read_rgb(picture))).resize((width, height)))
        limit_threads(1)
        found, left_out = engines(path, step)
        limit_threads(1)  # of torch as well, which is loaded now
        first = open_engine(path, engine="onnx")
        y_hat = first.dequantise(first.quantise(first.analyse(pixels), step))
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    x = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32) / np.float32(255.0)
    records = measure(found, x, y_hat, runs)
    text = table(records)
    click.echo(text)
    for name, reason in left_out.items():
        click.echo(f"{name}: {reason}", err=True)
    out.mkdir(parents=True, exist_ok=True)
    write_records(out / "engines.csv", COLUMNS, records)
    (out / "engines.md").write_text(text + "\n", encoding="utf-8")
    versions = {name: metadata.version(name) for name in PACKAGES if find_spec(name)}
    origin = provenance.collect(runs=runs, threads=1, size=size, quality=quality, engines=versions, left_out=left_out)
    (out / "engines.json").write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
