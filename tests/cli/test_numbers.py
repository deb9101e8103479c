"""The law of numbers: none of any option of any command is taken that is not finite or out of its range."""

from __future__ import annotations

import math
from collections.abc import Iterator

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aecodec.bench.opening import parse_qualities
from aecodec.cli import COMMANDS, root, run
from aecodec.cli.numbers import (
    PLACE_LIMIT,
    SIZE_LIMIT,
    Real,
    Whole,
    parse_counts,
    parse_levels,
    parse_rectangle,
    parse_size,
)
from aecodec.codec.options import EncodeOptions
from aecodec.contracts import UsageError

HOSTILE = ("nan", "-nan", "inf", "-inf", "infinity", "1e400", "-1e400", "9" * 30, "-" + "9" * 30, "9" * 5000, "", "x")
#: Options that hold numbers in a text, and what reads it.
TEXTS = {
    "--max-pixels": parse_size,
    "--target-size": parse_size,
    "--crop": lambda text: parse_rectangle(text, "--crop", "X,Y,W,H"),
    "--box": lambda text: parse_rectangle(text, "--box", "LEFT,TOP,WIDTH,HEIGHT"),
    "--qualities": lambda text: parse_qualities((text,)),
    "--mean": lambda text: parse_levels(text, "--mean"),
    "--bits": lambda text: parse_counts(text, "--bits"),
    "--std": lambda text: parse_levels(text, "--std"),
}
#: Options whose values are words. One that is in neither table fails the law until it is put into one.
WORDS = frozenset(
    [
        "--anchor",
        "--backbone",
        "--backbone-weights",
        "--codecs",
        "--data",
        "--device",
        "--engine",
        "--eval-data",
        "--family",
        "--features",
        "--format",
        "--hasher",
        "--metrics",
        "--model",
        "--name",
        "--output",
        "--precision",
        "--ray",
        "--resume",
        "--score",
        "--set",
        "--table",
        "--task",
        "--test",
        "--title",
        "--to",
        "--where",
    ]
)


def options() -> Iterator[tuple[str, click.Parameter]]:
    """Every option of every command, with where it is."""

    def of(command: click.Command, place: str) -> Iterator[tuple[str, click.Parameter]]:
        for option in command.params:
            if isinstance(option, click.Option) and not option.is_flag:
                yield f"{place} {max(option.opts, key=len)}", option
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                if child is not None:
                    yield from of(child, f"{place} {name}")

    return of(root, "aecodec")


OPTIONS = list(options())
NUMBERS = [(place, option) for place, option in OPTIONS if isinstance(option.type, (Whole, Real))]


def test_every_command_is_walked():
    assert {place.split()[1] for place, _ in OPTIONS} >= {"compress", "restore", "anomaly", "bench", "train", "search"}
    assert len(NUMBERS) > 25
    assert set(COMMANDS) >= {place.split()[1] for place, _ in OPTIONS}


@pytest.mark.parametrize(("place", "option"), OPTIONS)
def test_a_number_has_a_type_that_bounds_it(place, option):
    """No option has a bare number's type, and one of text is known to hold numbers or words."""
    kinds = (click.types.IntParamType, click.types.FloatParamType)
    assert isinstance(option.type, (Whole, Real)) or not isinstance(option.type, kinds), place
    if isinstance(option.type, click.types.StringParamType):
        name = place.split()[-1]
        assert (name in TEXTS) != (name in WORDS), f"{place}: does it hold numbers or words?"


def test_every_word_is_that_of_an_option():
    names = {place.split()[-1] for place, _ in OPTIONS}
    assert names >= WORDS
    assert names >= set(TEXTS)


@pytest.mark.parametrize(("place", "option"), NUMBERS)
def test_an_option_takes_no_number_without_end(place, option):
    low, high = option.type.min, option.type.max
    assert math.isfinite(low)
    assert math.isfinite(high)
    for text in (*HOSTILE, str(high + 1 if isinstance(high, int) else high * 1.01 + 1), str(low - 1)):
        with pytest.raises(click.BadParameter):
            option.type.convert(text, option, None)
    assert option.type.convert(str(high), option, None) == high


@pytest.mark.parametrize("read", TEXTS.values())
@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_holds_no_number_without_end(read, text):
    for wrong in (text, f"{text},{text},{text},{text}", f"0,0,1,{text}"):
        with pytest.raises(UsageError) as caught:
            read(wrong)
        assert len(str(caught.value)) < 300


@given(st.integers(-5, PLACE_LIMIT + 5), st.integers(-5, 9), st.integers(-5, 9), st.integers(-5, PLACE_LIMIT + 5))
def test_a_rectangle_is_its_four_numbers_or_refused(left, top, width, height):
    text = f"{left},{top},{width},{height}"
    if min(left, top) >= 0 and min(width, height) >= 1 and max(left, height) <= PLACE_LIMIT:
        assert parse_rectangle(text, "--crop", "X,Y,W,H") == (left, top, width, height)
    else:
        with pytest.raises(UsageError):
            parse_rectangle(text, "--crop", "X,Y,W,H")


def test_a_size_has_an_end():
    assert parse_size(str(SIZE_LIMIT)) == SIZE_LIMIT
    for text in ("0", "-1", "1e300k", str(2 * SIZE_LIMIT)):
        with pytest.raises(UsageError):
            parse_size(text)


@pytest.mark.parametrize("field", ["quality", "target_bpp", "target_size", "target_psnr", "effort"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, -1, "5", True])
def test_options_in_python_are_held_to_the_same(field, value):
    with pytest.raises(UsageError):
        EncodeOptions(**{field: value})


@pytest.mark.parametrize(
    "command",
    [
        "restore a.png -o b.png --sigma nan",
        "anomaly fit m normal -o d.json --false-alarms nan",
        "compress a.png --target-bpp inf",
        "search a.hix a.png --max-distance 99999999999999999999",
        "train autoencoder --max-seconds nan",
        "decompress a.aec --crop 0,0,nan,5",
        "compress a.png --max-pixels inf",
    ],
)
def test_the_command_line_says_so_with_exit_code_2(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(command.split()) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())
