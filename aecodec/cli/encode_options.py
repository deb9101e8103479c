"""The flags of encoding, made from the fields of EncodeOptions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any

import click

from ..codec.options import EncodeOptions, Flag
from .numbers import Real, Whole, parse_size


def encode_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every flag of encoding; it is called with ``options``, an EncodeOptions."""

    @functools.wraps(command)
    def checked(**given: Any) -> Any:
        values = {option.name: given.pop(option.name) for option in fields(EncodeOptions)}
        for option in fields(EncodeOptions):
            if _flag(option).size and values[option.name] is not None:
                values[option.name] = parse_size(values[option.name])
        return command(options=EncodeOptions(**values), **given)

    offered: Callable[..., Any] = checked
    for option in reversed(fields(EncodeOptions)):
        offered = _click_option(option)(offered)
    return offered


def _flag(option: Field[Any]) -> Flag:
    flag: Flag = option.metadata["flag"]
    return flag


def _click_option(option: Field[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    flag = _flag(option)
    names = [option.name, *([flag.short] if flag.short else []), flag.name or f"--{option.name.replace('_', '-')}"]
    if isinstance(option.default, bool):
        return click.option(*names, is_flag=True, default=option.default, help=flag.help)
    if flag.size:
        return click.option(*names, metavar="BYTES", help=flag.help)
    kind: click.ParamType
    if flag.whole or isinstance(option.default, int):
        kind = Whole(int(_bound(flag.low)), int(_bound(flag.high)))
    else:
        kind = Real(_bound(flag.low), _bound(flag.high), open_low=flag.open_low)
    shown = option.default is not None
    return click.option(*names, type=kind, default=option.default, show_default=shown, help=flag.help)


def _bound(bound: float | None) -> float:
    """A number's lowest or highest value. Raises TypeError for a field without one."""
    if bound is None:
        raise TypeError("every number of EncodeOptions has a range")
    return bound
