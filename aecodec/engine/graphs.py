"""A model's networks as ONNX graphs without weights: derived from the module, named as its latents' coder calls them.

A graph names its weights as the checkpoint does and holds none of them, so weights are stored once, in whatever format;
whoever runs a graph hands them over (networks.py). What each network takes and gives is told in latents/.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import checkpoint
from ..contracts import MissingDependencyError
from ..latents.context import STEPS
from ..nn.quantise import round_half_up
from ..shield import shielded
from ..zoo import stored
from . import adjoints

OPSET = 17
#: Constants of at most so many numbers stay in the graph.
SMALL = 16


@dataclass(frozen=True)
class Network:
    """What is exported. module: its parameters named as in the model. inputs: an example of each. free: the axes whose
    lengths may differ from the example's. outputs: their names."""

    module: nn.Module
    inputs: dict[str, torch.Tensor]
    free: tuple[int, ...] = (2, 3)
    outputs: tuple[str, ...] = ("out",)


class _Of(nn.Module):
    """A function of some children of a model, which keep their names."""

    def __init__(self, model: Any, children: tuple[str, ...], function: Callable[..., Any]) -> None:
        super().__init__()
        for name in children:
            self.add_module(name, getattr(model, name))
        self._function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self._function(self, *inputs)


def _quantiser(net: Any, y: torch.Tensor, z: torch.Tensor, steps: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    return net.mean_context.reconstruct(
        net.hyper_features(z),
        torch.zeros_like(y),
        lambda mean: torch.maximum(torch.minimum(round_half_up(y - mean), reach), -reach),
        [steps == float(step) for step in range(STEPS)],
    )[1]


def _dequantiser(net: Any, z: torch.Tensor, residual: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    masks = [steps == float(step) for step in range(STEPS)]
    return net.mean_context.reconstruct(
        net.hyper_features(z), torch.zeros_like(residual), lambda mean: residual, masks
    )[0]


def _exact_hyperprior(model: Any) -> dict[str, Network]:
    c = model.config
    y, z = torch.rand(1, c.latents, 8, 12), torch.ones(1, c.hyper_latents, 2, 3)
    steps = torch.ones_like(y)
    walk = ("hyper_features", "mean_context")
    return {
        "analysis": Network(
            _Of(model, ("analysis",), lambda net, x: net.analysis(x - 0.5)), {"x": torch.rand(1, 3, 128, 192)}
        ),
        "hyper_analysis": Network(_Of(model, ("hyper_analysis",), lambda net, y: net.hyper_analysis(y)), {"y": y}),
        "quantiser": Network(_Of(model, walk, _quantiser), {"y": y, "z": z, "steps": steps, "reach": steps}),
        "dequantiser": Network(_Of(model, walk, _dequantiser), {"z": z, "residual": y, "steps": steps}),
        "synthesis": Network(
            _Of(model, ("synthesis",), lambda net, y, gain: net.synthesis(y, gain) + 0.5),
            {"y_hat": y, "gain": torch.ones(1, c.channels)},
        ),
        **_gradients(model, y, z, steps),
    }


def _synthesis_forth(net: Any, y: torch.Tensor, gain: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x_hat, on = adjoints.synthesis(net.synthesis, y, gain)
    return x_hat + 0.5, on


def _gradients(model: Any, y: torch.Tensor, z: torch.Tensor, steps: torch.Tensor) -> dict[str, Network]:
    """What encoder effort asks of the flagship."""
    c, walk = model.config, ("hyper_features", "mean_context")
    gain, of_channels = torch.ones(1, c.channels), torch.ones(1, c.latents)
    x_hat, on = adjoints.synthesis(model.synthesis, y, gain)
    return {
        "synthesis_forth": Network(
            _Of(model, ("synthesis",), _synthesis_forth), {"y_hat": y, "gain": gain}, outputs=("x_hat", "on")
        ),
        "synthesis_back": Network(
            _Of(model, ("synthesis",), lambda net, *inputs: adjoints.synthesis_back(net.synthesis, *inputs)),
            {"on": on, "gain": gain, "gradient": x_hat},
        ),
        "means_and_gradient": Network(
            _Of(model, walk, adjoints.means_and_gradient),
            {"z": z, "y_hat": y, "steps": steps, "to_y_hat": y, "to_residual": y, "slope": y},
        ),
        "hyper_gradient": Network(
            _Of(model, (*walk, "scale_net", "mixture"), adjoints.hyper_gradient),
            {"z": z, "y": y, "steps": steps, "offset": of_channels, "weight": of_channels},
        ),
    }


def _factorized_prior(model: Any) -> dict[str, Network]:
    return {
        "analysis": Network(_Of(model, ("g_a",), lambda net, x: net.g_a(x)), {"x": torch.rand(1, 3, 128, 192)}),
        "synthesis": Network(
            _Of(model, ("g_s",), lambda net, y: net.g_s(y)), {"y_hat": torch.rand(1, model.config.m, 8, 12)}
        ),
    }


def _mean_scale_hyperprior(model: Any) -> dict[str, Network]:
    z = torch.ones(1, model.config.n, 2, 3)
    y = torch.rand(1, model.config.m, 8, 12)
    return {
        **_factorized_prior(model),
        "hyper_analysis": Network(_Of(model, ("h_a",), lambda net, y: net.h_a(y)), {"y": y}),
        "means": Network(_Of(model, ("h_s",), lambda net, z: net.h_s(z).chunk(2, dim=1)[1]), {"z_hat": z}),
    }


def _semantic_hash(model: Any) -> dict[str, Network]:
    if model.config.backbone:
        return {}  # a feature extractor of another package, with operations of its own
    network = _Of(model, ("encoder", "head"), lambda net, x: net.head(net.encoder(x)))
    return {"logits": Network(network, {"x": torch.rand(2, *model.config.shape)}, (0,))}


#: Family -> its networks.
NETWORKS: dict[str, Callable[[Any], dict[str, Network]]] = {
    "exact-hyperprior": _exact_hyperprior,
    "factorized-prior": _factorized_prior,
    "mean-scale-hyperprior": _mean_scale_hyperprior,
    "semantic-hash": _semantic_hash,
}


@shielded()
def export_graphs(family: str, model: Any) -> dict[str, bytes]:
    """A model in eval mode, on the CPU -> its graphs by name, {} for a family that has none.

    Raises MissingDependencyError without the package onnx.
    """
    if family not in NETWORKS:
        return {}
    names = set(model.state_dict())
    return {name: _export(network, names) for name, network in NETWORKS[family](model).items()}


@shielded()
def add_graphs(path: Path, out: Path | None = None) -> tuple[str, ...]:
    """Give a checkpoint the graphs of its networks, in place or in another file -> their names, none for a family that
    has none. Its fingerprint stays. Raises CheckpointError, MissingDependencyError, OutputError."""
    frozen = checkpoint.load(path)
    graphs = export_graphs(frozen.family, frozen.module)
    if graphs or out is not None:
        stored.write(replace(stored.read(path), graphs=graphs), out or path)
    return tuple(graphs)


def write_graphs(path: Path) -> None:
    """As `add_graphs` in place, with a warning instead of an error where the package onnx is missing."""
    try:
        add_graphs(path)
    except MissingDependencyError as error:
        warnings.warn(f"{path}: written without graphs ({error}); torch alone runs it", stacklevel=2)


def _export(network: Network, weights: set[str]) -> bytes:
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError("graphs are written by the package onnx: pip install 'aecodec[train]'") from error
    buffer = io.BytesIO()
    axes: Mapping[str, dict[int, str]] = {
        name: {axis: f"{name}{axis}" for axis in network.free if axis < example.ndim}
        for name, example in network.inputs.items()
    }
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.module.eval(),
            tuple(network.inputs.values()),
            buffer,  # type: ignore[arg-type]
            input_names=list(network.inputs),
            output_names=list(network.outputs),
            dynamic_axes={
                **axes,
                **{name: {axis: f"{name}{axis}" for axis in network.free} for name in network.outputs},
            },
            opset_version=OPSET,
            dynamo=False,
            do_constant_folding=False,
            # Otherwise norms are folded into the weights, whose names then are no checkpoint's.
            training=torch.onnx.TrainingMode.PRESERVE,
        )
    proto = onnx.load_from_string(buffer.getvalue())
    for tensor in proto.graph.initializer:
        if tensor.name in weights:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            place = tensor.external_data.add()
            place.key, place.value = "location", "weights"
    _shorten(proto.graph)
    return proto.SerializeToString(deterministic=True)


def _shorten(graph: Any) -> None:
    """Give what a graph computes on its way numbers for names, which are most of its bytes."""
    kept = {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    short: dict[str, str] = {}
    graph.ClearField("value_info")
    for node in graph.node:
        node.ClearField("name")
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name and name not in kept:
                    names[place] = short.setdefault(name, str(len(short)))
