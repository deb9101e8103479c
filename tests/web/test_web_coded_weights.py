"""Weights told by codes are in a browser what they are in Python, bit for bit, or one clear error."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from places import GOLDEN
from safetensors import safe_open
from safetensors.numpy import save

from aecodec.coding import container
from aecodec.viewer.models import file_name
from aecodec.zoo import coded_weights, stored
from aecodec.zoo.registry import read_header

MODEL = GOLDEN / "coded" / "exact-hyperprior.safetensors"
FILE = GOLDEN / "coded" / "exact-hyperprior-q37.5.aec"

Tensors = dict[str, np.ndarray]


def raw() -> tuple[Tensors, dict[str, str]]:
    with safe_open(MODEL, framework="numpy") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118 (not a dict)


def asked_for(site, tensors: Tensors, told: dict[str, str], print_: bytes) -> tuple[str, str]:
    """A model of these tensors, and a file that asks for it -> where they are served, the file first."""
    model = site.put(f"models/{file_name(print_)}", save(tensors, {**told, "fingerprint": print_.hex()}))
    parsed = container.parse(FILE.read_bytes())
    header = replace(parsed.header, fingerprint=print_)
    return site.put(f"coded/{print_.hex()}.aec", container.write(header, parsed.tiles)), model


def test_every_product_is_rounded_to_the_same_float16(probe, site):
    """Of all codes with scales of every size, those of subnormal numbers among them, and of halves between two."""
    tensors, told = raw()
    rng = np.random.default_rng(3)
    scales = np.exp2(rng.uniform(-32, 8.9, 600)).astype(np.float32)
    halves = np.ldexp(np.float32(1.0) + np.arange(200) / np.float32(128), rng.integers(-30, 6, 200))
    tensors["scales/any"] = np.concatenate([scales, halves.astype(np.float32)])
    tensors["codes/any"] = np.tile(np.arange(-128, 128).astype(np.int8), (800, 1))
    header = read_header(MODEL)
    print_ = stored.fingerprint(header["family"], header["config"], coded_weights.apply(tensors, {}))
    file, model = asked_for(site, tensors, told, print_)
    found = probe.evaluate(f"probe.latents({json.dumps(file)}, {json.dumps(model)})")
    assert found["stored"] == print_.hex()


WEIGHT = "analysis.leave.weight"
DAMAGES: dict[str, Callable[[Tensors], object]] = {
    "codes without scales": lambda t: t.pop(f"scales/{WEIGHT}"),
    "scales without codes": lambda t: t.pop(f"codes/{WEIGHT}"),
    "a tensor twice": lambda t: t.update({WEIGHT: np.zeros(1, np.float16)}),
    "too many scales": lambda t: t.update({f"scales/{WEIGHT}": np.ones(1000, np.float32)}),
    "scales of another type": lambda t: t.update({f"scales/{WEIGHT}": t[f"scales/{WEIGHT}"].astype(np.float64)}),
    "codes of another type": lambda t: t.update({f"codes/{WEIGHT}": t[f"codes/{WEIGHT}"].astype(np.int16)}),
    "no shape": lambda t: t.update({f"codes/{WEIGHT}": np.zeros((), np.int8)}),
    "a negative scale": lambda t: t[f"scales/{WEIGHT}"].__setitem__(0, -1),
    "a scale that is not a number": lambda t: t[f"scales/{WEIGHT}"].__setitem__(0, np.nan),
    "a scale without end": lambda t: t[f"scales/{WEIGHT}"].__setitem__(0, 3e38),
    "another code": lambda t: t[f"codes/{WEIGHT}"].reshape(-1).__setitem__(0, 99),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_codes_that_no_writer_makes_are_refused(probe, site, name):
    tensors, told = raw()
    DAMAGES[name](tensors)
    # Of its own, so that the page has not loaded it before.
    print_ = bytes([200 + list(DAMAGES).index(name)]) * 8
    file, _ = asked_for(site, tensors, told, print_)
    found = probe.evaluate(f"probe.decoded({json.dumps(file)})", seconds=300)
    assert found["error"] == "CheckpointError", found
    assert "\n" not in found["message"]
