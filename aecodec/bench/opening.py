"""From what a user writes, `avif` or `aec:NAME_OR_PATH`, to codecs at their settings and metrics."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass, replace

from ..contracts import MissingDependencyError, UnknownName, UsageError
from ..metrics import METRICS
from .codecs import FileCodec
from .peers import PEERS


@dataclass(frozen=True)
class CodecSpec:
    """One codec of a run, as plain values that another process can open again.

    name: a row of PEERS, with its argument. qualities: on the codec's own scale (see `FileCodec.scale`), None for its
    own points. named: they are meant for this codec; if not, they are for every codec whose scale is 0 to 100, and
    another one keeps its own.
    """

    name: str
    device: str = "cpu"
    qualities: tuple[float, ...] | None = None
    named: bool = True

    def open(self) -> FileCodec:
        """Import the codec and open it.

        Raises UnknownName, UsageError for qualities that it does not take, MissingDependencyError if a library or
        program is absent, CheckpointError for the weights of a network.
        """
        codec = _open(self.name, self.device)
        if self.qualities and (self.named or codec.scale == "quality"):
            _check(codec, self.qualities)
            codec = replace(codec, qualities=self.qualities)
        return codec


def open_codec(name: str, device: str = "cpu") -> FileCodec:
    """A codec by name at its own qualities. Raises as `CodecSpec.open` does."""
    return CodecSpec(name, device).open()


#: The largest quality of any codec.
MOST = 1e9


def codec_specs(codecs: str, qualities: tuple[str, ...] = (), device: str = "cpu") -> list[CodecSpec]:
    """What the command line says -> specs, each codec once.

    codecs: names with commas. qualities: texts as `parse_qualities` takes them. Raises UsageError.
    """
    names = list(dict.fromkeys(part.strip() for part in codecs.split(",")))
    asked = parse_qualities(qualities)
    stray = sorted(set(asked) - set(names) - {""})
    if stray:
        raise UsageError(f"--qualities names {', '.join(stray)}, which is not among the codecs")
    return [CodecSpec(name, device, asked.get(name, asked.get("")), name in asked) for name in names]


def parse_qualities(texts: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    """["20,50", "jpeg2000=0.1,0.5"] -> {"": (20, 50), "jpeg2000": (0.1, 0.5)}. Raises UsageError."""
    found: dict[str, tuple[float, ...]] = {}
    for text in texts:
        name, _, numbers = text.rpartition("=")
        try:
            asked = {float(part) for part in numbers.split(",")}
            if not all(abs(quality) <= MOST for quality in asked):  # nor what is not a number
                raise ValueError
        except ValueError:
            raise UsageError(f"qualities are finite numbers separated by commas, got {text[:100]!r}") from None
        found[name] = tuple(sorted(asked))
    return found


def metric_columns(metrics: str) -> tuple[str, ...]:
    """What the command line says, "psnr,ms-ssim" -> columns of METRICS.

    Raises UnknownName, UsageError without psnr, which every table needs, or MissingDependencyError for a metric that
    cannot be computed here.
    """
    names, columns = [part.strip() for part in metrics.split(",")], {spelled(column): column for column in METRICS}
    for name in names:
        if name not in columns:
            raise UnknownName(f"no metric {name!r}; there are: {', '.join(columns)}")
    if "psnr" not in names:
        raise UsageError("the metrics must include psnr: BD-rates and tables are made of it")
    for name in names:
        metric = METRICS[columns[name]]
        if metric.module and importlib.util.find_spec(metric.module) is None:
            raise MissingDependencyError(
                f"metric {name} needs the package {metric.module}: pip install 'aecodec[{metric.extra}]'"
            )
    return tuple(columns[name] for name in names)


def spelled(column: str) -> str:
    """A metric's column as the command line writes it."""
    return column.replace("_", "-")


def _open(name: str, device: str) -> FileCodec:
    head, colon, argument = name.partition(":")
    peer = PEERS.get(head)
    if peer is None or (colon and not peer.argument):
        known = (name + peer.argument for name, peer in PEERS.items())
        raise UnknownName(f"no codec {name!r}; there are: {', '.join(known)}")
    return peer.open(argument, device)


def _check(codec: FileCodec, qualities: tuple[float, ...]) -> None:
    low, high = codec.limits
    for quality in qualities:
        if not low <= quality <= high:
            reach = f"from {low:g} to {high:g}" if math.isfinite(high) else f"from {low:g} up"
            raise UsageError(f"{codec.name}: {codec.scale} goes {reach}, got {quality:g}")
        if codec.integer and quality != int(quality):
            raise UsageError(f"{codec.name}: {codec.scale} is a whole number, got {quality:g}")
