"""The page for eyes, in a real browser under its policy: what is shown is what was decoded, and blind is blind."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from chromium import Browser, find_browser
from conftest import natural_picture
from PIL import Image

from aecodec.cli import run
from aecodec.zoo.registry import DEFAULT_MODEL

MARKUP = "<img src=x onerror=alert(1)>"
CODECS = "jpeg420,webp,jpeg444"
SEEN = "document.querySelector('#box img.seen')"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Pictures, one with a name of markup, and their page."""
    place = tmp_path_factory.mktemp("flip")
    (place / "pictures").mkdir()
    for number, name in enumerate(("one", "two", MARKUP)):
        pixels = np.roll(natural_picture(180, 200), 30 * number, axis=1)
        Image.fromarray(pixels).save(place / "pictures" / f"{name}.png")
    arguments = ["flip", place / "pictures", "-o", place / "page", "--codecs", CODECS, "--bpp", 1.2, "--title", "a <b>"]
    assert run([*map(str, arguments)]) == 0
    return place


@pytest.fixture(scope="module")
def data(folder) -> dict:
    text = (folder / "page" / "index.html").read_text()
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


@pytest.fixture(scope="module", params=[1, 2])
def wide_browser(request, tmp_path_factory):
    """A browser of a screen of one scale, and that scale."""
    if find_browser() is None:
        pytest.skip("no chromium")
    options = (f"--force-device-scale-factor={request.param}", "--force-color-profile=srgb")
    with Browser(tmp_path_factory.mktemp("profile"), *options) as opened:
        yield opened, request.param


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if find_browser() is None:
        pytest.skip("no chromium")
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened
        assert opened.said == []


def go(browser: Browser, folder: Path) -> None:
    browser.go((folder / "page" / "index.html").as_uri())


def press(browser: Browser, key: str, kind: str = "") -> None:
    """A key down and up, or one of both."""
    letter = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
    if kind != "keyUp":
        browser.call("Input.dispatchKeyEvent", type="keyDown", key=key, **letter)
    if kind != "keyDown":
        browser.call("Input.dispatchKeyEvent", type="keyUp", key=key)


def seen(browser: Browser, tmp_path: Path) -> np.ndarray:
    """The screen's pixels where the picture stands, as much of it as fits."""
    browser.evaluate("Promise.all([...document.querySelectorAll('#box img')].map((image) => image.decode()))")
    browser.evaluate("new Promise(requestAnimationFrame).then(() => new Promise(requestAnimationFrame))")
    browser.evaluate("document.querySelector('#stage').scrollTo(0, 0)")
    browser.screenshot(tmp_path / "seen.png")
    left, top, right, bottom = browser.evaluate(
        """(() => {
            const box = document.querySelector("#box").getBoundingClientRect();
            const stage = document.querySelector("#stage").getBoundingClientRect();
            return [box.left, box.top, Math.min(box.right, stage.right), Math.min(box.bottom, stage.bottom)]
                .map((side) => Math.round(side * devicePixelRatio));
        })()"""
    )
    with Image.open(tmp_path / "seen.png") as image:
        return np.asarray(image.convert("RGB"))[top:bottom, left:right]


def shown(folder: Path, address: str, zoom: int = 1) -> np.ndarray:
    pixels = np.asarray(Image.open(folder / "page" / address))
    return pixels.repeat(zoom, 0).repeat(zoom, 1)


def test_what_is_kept_is_what_each_codec_decodes_at_the_size_told(folder, data):
    from aecodec.bench.opening import open_codec

    assert [codec["name"] for codec in data["codecs"]] == CODECS.split(",")
    assert sorted(scene["picture"] for scene in data["scenes"]) == sorted(["one", "two", MARKUP])
    for scene in data["scenes"]:
        assert scene["target"] == math.ceil(180 * 200 * 1.2 / 8)
        original = Image.open(folder / "pictures" / f"{scene['picture']}.png").convert("RGB")
        assert np.array_equal(shown(folder, scene["original"]), np.asarray(original))
        for name, file in scene["files"].items():
            codec = open_codec(name)
            again = codec.encode(original, file["quality"])
            assert len(again) == file["bytes"]
            assert np.array_equal(shown(folder, file["shown"]), np.asarray(codec.decode(again)))


def test_keys_flip_in_place_pixel_by_pixel(wide_browser, folder, data, tmp_path):
    """At 1x a pixel of the picture is one of the screen, at 2x four, whatever the screen's scale is."""
    browser, scale = wide_browser
    go(browser, folder)
    assert browser.evaluate("devicePixelRatio") == scale
    scene = data["scenes"][0]
    first, second = (scene["files"][name]["shown"] for name in ("jpeg420", "webp"))
    told = []
    for keys, address in (("", first), (" ", second), (" ", first), ("2", second), ("1", first)):
        for key in keys:
            press(browser, key)
        assert np.array_equal(seen(browser, tmp_path), shown(folder, address))
        told.append(browser.evaluate("document.querySelector('#shown').textContent"))
    assert told == ["A", "B", "A", "B", "A"]
    press(browser, "o", "keyDown")
    assert np.array_equal(seen(browser, tmp_path), shown(folder, scene["original"]))
    press(browser, "o", "keyUp")
    press(browser, "z")
    found = seen(browser, tmp_path)
    assert found.shape[1] == 2 * scene["width"]
    assert np.array_equal(found, shown(folder, first, 2)[: len(found)])
    press(browser, "z")
    assert seen(browser, tmp_path).shape[1] == scene["width"]
    assert browser.said == []


def test_pictures_and_codecs_are_chosen_and_told(browser, folder, data):
    go(browser, folder)
    places = []
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft"):
        press(browser, key)
        places.append(browser.evaluate("Number(document.querySelector('#scene').value)"))
    assert places == [1, 2, 0, 2]
    browser.evaluate("{ const b = document.querySelector('#b'); b.value = 'jpeg444'; b.onchange(); }")
    press(browser, "2")
    file = data["scenes"][2]["files"]["jpeg444"]
    assert browser.evaluate(f"{SEEN}.getAttribute('src')") == file["shown"]
    told = browser.evaluate("document.querySelector('#figures').innerText")
    assert f"{file['bytes']:,}" in told
    assert "JPEG 4:4:4" in told
    assert f"{data['scenes'][2]['target']:,} bytes" in told
    # One codec against itself is no test.
    browser.evaluate("{ const b = document.querySelector('#b'); b.value = 'jpeg420'; b.onchange(); }")
    assert browser.evaluate("document.querySelector('#mode').disabled")


def test_names_with_markup_are_text(browser, folder):
    go(browser, folder)
    assert browser.evaluate("document.title") == "a <b>"
    assert browser.evaluate("document.querySelector('h1').textContent") == "a <b>"
    assert MARKUP in browser.evaluate("document.querySelector('#scene').textContent")
    assert browser.evaluate("document.querySelectorAll('img').length") == 3


def begin(browser: Browser, folder: Path, seed: str, rounds: int = 1) -> None:
    go(browser, folder)
    press(browser, "t")
    for name, value in (("seed", seed), ("rounds", rounds)):
        browser.evaluate(f"document.querySelector('#{name}').value = {json.dumps(value)}")
    browser.evaluate("document.querySelector('#begin').click()")


def looked(browser: Browser) -> list[str]:
    """The addresses of the first and the second, looked at by keys."""
    found = []
    for key in "12":
        press(browser, key)
        found.append(browser.evaluate(f"{SEEN}.getAttribute('src')"))
    return found


def choices(browser: Browser) -> list[dict[str, str]]:
    address = browser.evaluate("document.querySelector('#save').href")
    assert browser.evaluate("document.querySelector('#save').download") == "choices.csv"
    head, _, text = address.partition(",")
    assert head == "data:text/csv;charset=utf-8"
    return list(csv.DictReader(io.StringIO(unquote(text), newline="")))


def test_a_blind_test_hides_which_is_which_and_keeps_what_was_chosen(browser, folder, data):
    names = {file["shown"]: name for scene in data["scenes"] for name, file in scene["files"].items()}
    begin(browser, folder, "7", rounds=4)
    answers = []
    for trial in range(12):
        text = browser.evaluate("document.body.innerText + [...document.images].map((image) => image.alt).join()")
        for told in ("JPEG", "WebP", "jpeg", "webp", "PSNR", "quality", "bytes"):
            assert told not in text
        press(browser, "Enter")  # of no effect before both were looked at
        assert f"{trial + 1} of 12" in text
        order = [names[address] for address in looked(browser)]
        assert sorted(order) == ["jpeg420", "webp"]
        answer = ("first", "second", "none")[trial % 3]
        press(browser, {"first": "1", "second": "2", "none": "n"}[answer])
        if answer != "none":
            press(browser, "Enter")
        preferred = "" if answer == "none" else order[answer == "second"]
        answers.append({"first": order[0], "second": order[1], "choice": answer, "preferred": preferred})
    rows = choices(browser)
    assert [{key: row[key] for key in answers[0]} for row in rows] == answers
    assert {row["first"] for row in rows} == {"jpeg420", "webp"}
    assert sorted(row["picture"] for row in rows) == sorted(4 * ["one", "two", MARKUP])
    assert {row["seed"] for row in rows} == {"7"}
    for row in rows:
        scene = next(scene for scene in data["scenes"] if scene["picture"] == row["picture"])
        assert [int(row[f"{place}_bytes"]) for place in ("first", "second")] == [
            scene["files"][row[place]]["bytes"] for place in ("first", "second")
        ]
    won = sum(row["preferred"] == "jpeg420" for row in rows)
    low, high = slow_interval(won, 8)
    told = browser.evaluate("document.querySelector('#result').innerText")
    assert f"in {won} of 8 choices: {won / 8:.1%}".replace("%", " %") in told
    assert f"95 % confidence interval {100 * low:.1f} % to {100 * high:.1f} %" in told
    assert "seen in 4 more trials" in told


def test_the_order_is_drawn_from_the_seed(browser, folder):
    def orders(seed: str) -> list:
        begin(browser, folder, seed)
        drawn = f"drawn(S.pair, {json.dumps(seed)}, 40).map(({{ scene, order }}) => [scene.picture, order[0]])"
        assert browser.evaluate("test.trials.map(({ order }) => order[0])") == [
            first for _, first in browser.evaluate(drawn)[:3]
        ]
        return browser.evaluate(drawn)

    assert orders("a") == orders("a")
    assert orders("a") != orders("b")
    # Of 120 drawn halves, both orders come 30 to 90 times but once in ten million.
    assert 30 < sum(first == "webp" for _, first in orders("c")) < 90
    assert {picture for picture, _ in orders("c")[:3]} == {"one", "two", MARKUP}


def test_a_choice_is_taken_back_and_a_test_ended_early(browser, folder):
    begin(browser, folder, "x")
    for key in (" ", "Enter", " ", "Enter", "Backspace", "n", "Escape"):
        press(browser, key)
    assert [row["choice"] for row in choices(browser)] == ["second", "none"]
    press(browser, "Escape")
    assert browser.evaluate("!document.querySelector('#open').hidden && document.querySelector('#result').hidden")
    begin(browser, folder, "y")
    press(browser, "Escape")  # nothing was chosen, so there is nothing to tell
    assert browser.evaluate("!document.querySelector('#open').hidden")


def slow_interval(k: int, n: int) -> tuple[float, float]:
    """Clopper and Pearson's interval by its definition, on a grid that is refined: each tail has 2.5 %."""

    def at_least(count: int, share: float) -> float:
        return math.fsum(math.comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(count, n + 1))

    def first(holds, low: float = 0.0, high: float = 1.0) -> float:
        for _ in range(12):
            grid = np.linspace(low, high, 11)
            place = next(i for i, share in enumerate(grid) if holds(share))
            low, high = grid[max(place - 1, 0)], grid[place]
        return high

    low = 0.0 if k == 0 else first(lambda share: at_least(k, share) >= 0.025)
    high = 1.0 if k == n else first(lambda share: 1 - at_least(k + 1, share) <= 0.025)
    return low, high


def test_the_interval_is_clopper_and_pearsons(browser, folder):
    go(browser, folder)
    cases = [(k, n) for n in (1, 2, 7, 24) for k in range(n + 1)] + [(0, 150), (61, 150), (150, 150)]
    found = browser.evaluate(f"{json.dumps(cases)}.map(([k, n]) => interval(k, n))")
    for (k, n), pair in zip(cases, found, strict=True):
        assert pair == pytest.approx(slow_interval(k, n), abs=1e-9)
    # As tables have it: 7 of 10.
    assert browser.evaluate("interval(7, 10)") == pytest.approx((0.34755, 0.93326), abs=1e-5)


# -- the command -------------------------------------------------------------------------------------


def test_faults_are_one_line_and_nothing_is_lost(folder, tmp_path, capsys):
    pictures, page = folder / "pictures", folder / "page"
    before = (page / "index.html").read_bytes()
    cases = [
        ([pictures, "-o", page, "--codecs", "jpeg420,webp"], 5, "exists"),
        ([pictures, "-o", tmp_path / "p", "--codecs", "webp"], 2, "two codecs at least"),
        ([pictures, "-o", tmp_path / "p", "--codecs", f"aec,aec:{DEFAULT_MODEL}"], 2, "each once"),
        ([tmp_path / "none", "-o", tmp_path / "p"], 2, "no such folder"),
        ([pictures, "-o", tmp_path / "p", "--codecs", "webp,gif"], 2, "no codec 'gif'"),
    ]
    for arguments, code, message in cases:
        assert run(["flip", *map(str, arguments)]) == code
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert (page / "index.html").read_bytes() == before
    assert not (tmp_path / "p").exists()


def test_a_picture_that_cannot_be_read_is_said_and_left_out(folder, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes((folder / "pictures" / "one.png").read_bytes())
    (tmp_path / "data" / "b.png").write_bytes(b"no picture")
    arguments = ["flip", tmp_path / "data", "--out", tmp_path / "p", "--codecs", "jpeg420,webp", "--bpp", 1, "--bpp", 2]
    assert run([*map(str, arguments)]) == 1
    said = capsys.readouterr()
    assert "2 comparisons of jpeg420, webp" in said.out
    assert said.err.count("b.png: left out") == 2
    kept = sorted((tmp_path / "p" / "pictures").iterdir())
    assert run([*map(str, arguments), "--force"]) == 1
    assert sorted((tmp_path / "p" / "pictures").iterdir()) == kept
