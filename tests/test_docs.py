"""The pages can be trusted: what they show runs, what they name exists, and every command stands in one of them."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest
from pages import FRESH, Block, Page, pages, rows_of
from PIL import Image
from places import ROOT, SAMPLES
from test_layers import FLOORS
from warm_commands import WarmCommands, warm_commands

from aecodec.cli import root
from aecodec.train.config import TrainConfig

PAGES = pages()
README, *REST = PAGES
BY_NAME = {page.name: page for page in PAGES}
CLI = BY_NAME["docs/cli.md"]
ACTIVATE = "source .venv/bin/activate"
#: Programs of others that a page may call on a fresh machine.
FOREIGN = {"git", "tar", "source", "ray", "export"}
#: Sections of docs/cli.md that hold for several commands.
SHARED = ("Many files at once", "Folders", "One writer at a time", "Hashers and backends")


def ids(page: Page) -> str:
    return page.name


# -- what runs -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def commands() -> Iterator[WarmCommands]:
    with warm_commands() as found:
        yield found


@pytest.fixture
def workplace(tmp_path: Path, commands: WarmCommands) -> Path:
    """A folder with the files that the pages speak of, and an environment like the one that scripts/demo makes."""
    furnish(tmp_path, commands)
    return tmp_path


def furnish(folder: Path, commands: WarmCommands) -> None:
    """photo.png, two pictures in photos/, both small so that pages are quick, and .venv/bin."""
    (folder / "photos").mkdir()
    samples = {"photo.png": "osprey", "photos/beach.png": "beach-reflection", "photos/flowers.png": "blue-flowers"}
    for name, sample in samples.items():
        with Image.open(SAMPLES / f"{sample}.png") as image:
            image.reduce(2).save(folder / name)
    commands.install(folder / ".venv" / "bin")


def bare_environment(workplace: Path) -> dict[str, str]:
    """The present one, without any `aecodec` on PATH and with a cache that the pages share."""
    folders = os.environ["PATH"].split(os.pathsep)
    path = os.pathsep.join(folder for folder in folders if not (Path(folder) / "aecodec").exists())
    return {**os.environ, "PATH": path, "AECODEC_CACHE": str(workplace.parent / "cache")}


def run_block(block: Block, workplace: Path) -> subprocess.CompletedProcess[str]:
    """A block in a shell of its own that has taken the README's advice about PATH."""
    code = block.code if block.kind == "sh" else f"exec python -c {shlex.quote(block.code)}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{ACTIVATE}\n{code}"],
        cwd=workplace,
        env=bare_environment(workplace),
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.parametrize("page", [page for page in PAGES if any(block.runs for block in page.blocks)], ids=ids)
def test_page_runs(page, workplace):
    """Its blocks in their order, in one folder."""
    for block in page.blocks:
        if block.runs:
            done = run_block(block, workplace)
            assert done.returncode == 0, f"{page.name}, line {block.line}: {done.stdout}\n{done.stderr}"


def test_the_readme_says_how_the_command_gets_on_path(workplace):
    assert any(ACTIVATE in block.code.splitlines() for block in README.blocks)
    bare = bare_environment(workplace)
    assert subprocess.run(["bash", "-c", "command -v aecodec"], env=bare, capture_output=True).returncode == 1
    activate = shlex.quote(str(Path(sys.prefix) / "bin" / "activate"))
    found = subprocess.run(["bash", "-c", f"source {activate} && aecodec --version"], env=bare, capture_output=True)
    assert found.returncode == 0, found.stderr


def test_every_block_is_of_a_known_kind():
    kinds = {(block.kind, block.mark) for page in PAGES for block in page.blocks}
    assert kinds <= {("sh", None), ("sh", FRESH), ("python", None), ("python", FRESH), ("text", None)}


# -- what is shown but not run ---------------------------------------------------------------------------------------


def calls_of(code: str) -> Iterator[list[str]]:
    """The commands of a block as words: one a line, comments and redirections taken away."""
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        for stop in ("|", ">", "<", "&&"):
            words = words[: words.index(stop)] if stop in words else words
        if words:
            yield words


def known_options(command: click.Command) -> set[str]:
    return {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help", "-h"}


def check_options(command: click.Command, words: list[str]) -> None:
    """Raises AssertionError for an option that a command, or a command of its group, has not."""
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"no command {words[0]}"
        command, words = found, words[1:]
    for word in words:
        if re.match(r"-{1,2}[A-Za-z]", word):
            assert word.partition("=")[0] in known_options(command), f"{command.name} has no {word}"


def check_script(path: str, words: list[str]) -> None:
    """A file of the checkout that Python runs, and the options it is given."""
    assert (ROOT / path).is_file(), path
    main = import_module(Path(path).stem).main
    if isinstance(main, click.Command):
        check_options(main, words)


def check_extras(words: list[str]) -> None:
    """`pip install 'aecodec[train]'`: what is asked for exists."""
    project = (ROOT / "pyproject.toml").read_text()
    for extra in re.findall(r"\[([\w,]+)\]", " ".join(words)):
        for name in extra.split(","):
            assert re.search(rf"^{name} = \[", project, re.M), f"no extra {name}"


def check_python(code: str) -> None:
    """What is imported of the package exists, and takes the arguments that it is called with by name."""
    tree, known = ast.parse(code), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "aecodec":
            module = import_module(str(node.module))
            known |= {name.asname or name.name: getattr(module, name.name) for name in node.names}
    assert known, "imports nothing of the package"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in known:
            taken = inspect.signature(known[node.func.id])
            taken.bind_partial(*node.args, **{word.arg: None for word in node.keywords if word.arg})


def check_call(words: list[str]) -> None:
    """One command of a fresh machine."""
    program, *rest = words
    if "aecodec" in (program, *rest[:4]) and program in ("aecodec", "python", "torchrun"):
        check_options(root, words[words.index("aecodec") + 1 :])
    elif program == "python":
        check_script(rest[0], rest[1:])
    elif program == "pip":
        check_extras(rest)
    elif program.startswith("scripts/"):
        assert os.access(ROOT / program, os.X_OK), program
    else:
        assert program in FOREIGN, program


@pytest.mark.parametrize("page", [page for page in PAGES if any(b.mark == FRESH for b in page.blocks)], ids=ids)
def test_what_is_not_run_exists(page):
    for block in page.blocks:
        if block.mark == FRESH and block.kind == "python":
            check_python(block.code)
        elif block.mark == FRESH:
            for words in calls_of(block.code):
                check_call(words)


@pytest.mark.parametrize(
    "line",
    [
        "swim",
        "aecodec swim",
        "aecodec compress --no-such x",
        "scripts/swim",
        "python scripts/swim.py",
        "python benchmarks/effort.py x --no-such",
        "pip install aecodec[swim]",
    ],
)
def test_what_does_not_exist_is_noticed(line):
    with pytest.raises(AssertionError):
        check_call(shlex.split(line))


@pytest.mark.parametrize("call", ["from aecodec.ray import swim", "from aecodec.ray import hash\nhash('x', no_such=1)"])
def test_code_that_does_not_fit_is_noticed(call):
    with pytest.raises((AttributeError, TypeError)):
        check_python(call)


def test_fresh_machines_are_told_of_demo_and_tests():
    shown = {words[0] for block in README.blocks if block.mark == FRESH for words in calls_of(block.code)}
    assert {"scripts/demo", "scripts/test", "pip"} <= shown


# -- what must be there ----------------------------------------------------------------------------------------------


def test_the_readme_is_short():
    assert len(README.text.splitlines()) <= 150


def all_commands(group: click.Group, name: str = "aecodec") -> Iterator[tuple[str, click.Command]]:
    """Every command and command of a group, with its whole name."""
    context = click.Context(group)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        assert command is not None
        if isinstance(command, click.Group):
            yield from all_commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


@pytest.mark.parametrize(
    ("name", "command"), all_commands(root), ids=lambda value: value if str(value) == value else ""
)
def test_every_command_is_documented_with_its_options(name, command):
    section = CLI.section(name)
    assert section, f"docs/cli.md has no heading {name}"
    assert any(f"{name} " in block.code for block in CLI.blocks), f"no example of {name}"
    text = section + "".join(CLI.section(title) for title in SHARED)
    missing = [
        max(option.opts, key=len)
        for option in command.params
        if isinstance(option, click.Option) and not any(re.search(rf"{opt}\b", text) for opt in option.opts)
    ]
    assert not missing, f"{name}: {', '.join(missing)}"


def test_every_room_is_in_the_architecture_on_its_floor():
    section = BY_NAME["docs/architecture.md"].section("Rooms and floors")
    shown = {(floor, room.strip("`")) for floor, room, _ in rows_of(section)[1:]}
    assert shown == {(str(number), room) for number, floor in enumerate(FLOORS, 1) for room in floor} | {("top", "cli")}


def test_every_setting_of_a_training_is_explained():
    settings = BY_NAME["docs/training.md"].section("Settings")
    assert not [name for name in TrainConfig.model_fields if f"`{name}`" not in settings]


def test_every_extra_is_in_the_readme():
    project = (ROOT / "pyproject.toml").read_text()
    section = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = re.findall(r"^(\w+) = \[", section, re.M)
    assert extras
    assert not [extra for extra in extras if f"`{extra}`" not in README.text]


def test_every_page_is_linked_from_the_readme():
    assert not [page.name for page in REST if page.name not in README.links]


def linked_pages() -> list[Page]:
    """The pages, and all other Markdown of the checkout that people read."""
    others = [ROOT / "CHANGELOG.md", *(ROOT / "aecodec" / "zoo").glob("*.md")]
    others += (ROOT / "benchmarks" / "results").rglob("README.md")
    return [*PAGES, *(Page(path) for path in sorted(others))]


@pytest.mark.parametrize("page", linked_pages(), ids=ids)
def test_links_lead_somewhere(page):
    for target in page.links:
        file, _, anchor = target.partition("#")
        path = (page.path.parent / file).resolve() if file else page.path
        assert path.exists(), f"{page.name} links {target}"
        if anchor:
            assert anchor in Page(path).anchors, f"{page.name} links {target}"


@pytest.mark.parametrize("page", linked_pages(), ids=ids)
def test_paths_that_are_named_exist(page):
    """But for the list of changes, which names what is gone."""
    if page.name == "CHANGELOG.md":
        return
    assert not [path for path in page.paths if not (ROOT / path).exists()]
