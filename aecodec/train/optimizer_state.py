"""The state of an optimiser that comes from a file, checked before a run goes on with it.

torch takes any: a list for a rate, or an average of another shape, would be noticed in the middle of the next step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..data.records import is_number, shown

#: What is kept of a parameter: averages of its own shape, and matrices of its sides, one each (SOAP).
_AVERAGES = ("exp_avg", "exp_avg_sq", "momentum_buffer")
_MATRICES = ("GG", "Q")
#: The largest number of steps, and of any setting.
_LARGEST = 1 << 53


def check_state(found: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Raises ValueError unless a state dict has an optimiser's groups and settings, each of its type, and of each
    parameter nothing or what the optimiser keeps, in the right shape, of finite numbers."""
    own = optimizer.state_dict()["param_groups"]
    groups, state = found.get("param_groups"), found.get("state")
    if not isinstance(state, dict) or not isinstance(groups, list):
        raise ValueError("its optimiser has no state or no groups")
    if len(groups) != len(own):
        raise ValueError(f"its optimiser has {len(groups)} groups of parameters, this run's {len(own)}")
    for group, expected in zip(groups, own, strict=True):
        if not isinstance(group, dict) or not expected.keys() <= group.keys():
            raise ValueError("a group of its optimiser lacks settings")
        for key, value in expected.items():
            if not _alike(group[key], value):
                raise ValueError(f"{key} of its optimiser is {shown(group[key])}")
        if group["params"] != expected["params"]:
            raise ValueError("its optimiser numbers the parameters otherwise")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    kept = _kept(optimizer)
    for index, entry in state.items():
        if type(index) is not int or not 0 <= index < len(parameters) or not isinstance(entry, dict):
            raise ValueError("its optimiser has a state of no parameter")
        if entry and not kept <= entry.keys():
            raise ValueError(f"its optimiser lacks {', '.join(sorted(kept - entry.keys()))} of a parameter")
        for key, value in entry.items():
            if not _fits(key, value, parameters[index]):
                raise ValueError(f"its optimiser's {shown(key)} does not fit its parameter")


def _kept(optimizer: torch.optim.Optimizer) -> set[str]:
    """What an optimiser cannot do without, once it has stepped."""
    if isinstance(optimizer, torch.optim.SGD):
        return {"momentum_buffer"}
    return {"exp_avg", "exp_avg_sq"} | ({"step"} if isinstance(optimizer, torch.optim.AdamW) else set(_MATRICES))


def _fits(key: Any, value: Any, parameter: torch.Tensor) -> bool:
    if key in _AVERAGES:
        return _finite(value, parameter.shape)
    if key in _MATRICES:
        return (
            isinstance(value, list)
            and len(value) == max(parameter.ndim, 1)
            and all(
                (isinstance(matrix, list) and not matrix) or _finite(matrix, (side, side))
                for matrix, side in zip(value, parameter.shape or (1,), strict=True)
            )
        )
    if isinstance(value, torch.Tensor):
        return _finite(value, ()) and 0 <= float(value) <= _LARGEST
    return is_number(value) and 0 <= value <= _LARGEST


def _finite(value: Any, shape: tuple[int, ...]) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.is_floating_point()
        and value.layout == torch.strided
        and tuple(value.shape) == tuple(shape)
        and bool(torch.isfinite(value).all())
    )


def _is_share(value: Any) -> bool:
    return is_number(value) and 0 <= value < 1


def _alike(value: Any, example: Any) -> bool:
    """Whether a setting has the type of another, and is within any optimiser's range."""
    if isinstance(example, bool) or example is None:
        return value is None or isinstance(value, bool)
    if isinstance(example, (int, float)):
        return is_number(value) and -1 <= value <= _LARGEST  # SOAP's -1: unless told otherwise
    if isinstance(example, tuple):  # the decay of averages
        return isinstance(value, (list, tuple)) and len(value) == len(example) and all(_is_share(v) for v in value)
    if isinstance(example, list):
        return isinstance(value, list) and len(value) == len(example)
    return isinstance(value, type(example))
