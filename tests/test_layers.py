"""The law of the house: imports go downwards only, in no circle, torch stays where it belongs, and nobody's private
names are touched by others. Imports for typing and deferred ones count like all others."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import aecodec

ROOT = Path(aecodec.__file__).parent

#: Room -> rooms it imports. A room is a folder or a module of the top level. Every line names rooms of lower floors
#: only, and only those that it does import.
FLOORS: list[dict[str, set[str]]] = [
    {"contracts": set(), "parallel": set(), "shield": set()},
    {
        "coding": {"contracts"},
        "data": {"parallel", "contracts"},
        "device": {"contracts"},
        "metrics": {"shield", "contracts"},
    },
    {"latents": {"coding", "contracts"}, "zoo": {"coding", "data", "contracts"}, "native_build": {"data", "contracts"}},
    {
        "nn": {"latents", "metrics", "data", "contracts"},
        "index": {"native_build", "data", "zoo", "parallel", "contracts"},
        "overfitted": {"native_build", "coding", "zoo", "contracts"},
    },
    {"entropy": {"coding", "latents", "nn", "contracts"}},
    {"models": {"entropy", "latents", "nn", "coding", "contracts"}},
    {"checkpoint": {"shield", "models", "latents", "coding", "data", "zoo", "parallel", "contracts"}},
    {
        "engine": {
            "shield",
            "checkpoint",
            "models",
            "entropy",
            "latents",
            "nn",
            "metrics",
            "coding",
            "data",
            "device",
            "zoo",
            "parallel",
            "contracts",
        }
    },
    {
        "hasher": {"engine", "coding", "data", "zoo", "contracts"},
        "tasks": {"shield", "checkpoint", "nn", "coding", "metrics", "data", "device", "zoo", "contracts"},
        "train": {"shield", "engine", "checkpoint", "models", "coding", "data", "device", "contracts"},
        "search": {"index", "coding", "data", "contracts"},
    },
    {
        "codec": {"engine", "hasher", "overfitted", "coding", "data", "metrics", "zoo", "parallel", "contracts"},
        "viewer": {"search", "index", "engine", "coding", "data", "zoo", "parallel", "contracts"},
    },
    {
        "pillow": {"codec", "coding", "data", "contracts"},
        "bench": {"codec", "metrics", "data", "contracts"},
        "ray": {"codec", "search", "hasher", "engine", "coding", "data", "zoo", "contracts"},
    },
]
TOP = {"cli", "__main__", ""}
ALLOWED = {room: allowed for floor in FLOORS for room, allowed in floor.items()}
#: Modules of the top level: more would be rooms that nobody built.
MOST_TOP_FILES = 8


@dataclass(frozen=True)
class Import:
    """One import: dotted names below the package ("" is the package itself), or a foreign package's name."""

    importer: str
    imported: str
    ours: bool
    typing_only: bool


def module_name(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {module: ast.parse(path.read_text()) for module, path in MODULES.items()}


def room(module: str) -> str:
    return module.split(".")[0]


def targets(node: ast.Import | ast.ImportFrom, module: str) -> Iterator[tuple[str, bool]]:
    """What an import statement names -> (module below the package or foreign package, whether it is ours)."""
    package = [] if module == "" else module.split(".")
    if MODULES[module].name != "__init__.py":
        package = package[:-1]
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif node.level:
        base = package[: len(package) - node.level + 1]
        stem = ".".join([*base, *([node.module] if node.module else [])])
        for alias in node.names:
            whole = f"{stem}.{alias.name}".strip(".")
            yield (whole if whole in MODULES else stem), True
        return
    else:
        names = [node.module or ""]
    for name in names:
        ours = name.split(".")[0] == "aecodec"
        yield (name.partition(".")[2] if ours else name.split(".")[0]), ours


def imports_of(module: str) -> Iterator[Import]:
    def below(node: ast.AST, typing_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.Import, ast.ImportFrom)):
                for name, ours in targets(child, module):
                    yield Import(module, name, ours, typing_only)
                continue
            guarded = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
            yield from below(child, typing_only or guarded)

    yield from below(TREES[module], False)


IMPORTS = [found for module in MODULES for found in imports_of(module)]
OURS = [found for found in IMPORTS if found.ours]


def test_the_table_itself_goes_downwards():
    below: set[str] = set()
    for floor in FLOORS:
        for name, allowed in floor.items():
            assert allowed <= below, f"{name} may not import its own floor or one above"
        below |= set(floor)


def test_every_module_has_a_room():
    homeless = sorted({room(module) for module in MODULES} - set(ALLOWED) - TOP)
    assert not homeless, f"give {homeless} a line in FLOORS"
    named = [module for module in MODULES if "." not in module and MODULES[module].name != "__init__.py"]
    assert len(named) <= MOST_TOP_FILES, named


def edges() -> dict[str, set[str]]:
    """Room -> the rooms that its modules import."""
    found: dict[str, set[str]] = {}
    for each in OURS:
        if room(each.importer) not in TOP and room(each.imported) != room(each.importer):
            found.setdefault(room(each.importer), set()).add(room(each.imported))
    return found


def test_imports_go_downwards_only_and_every_edge_allowed_is_used():
    found = edges()
    assert {name: found.get(name, set()) for name in ALLOWED} == ALLOWED


def test_nothing_imports_the_command_line():
    assert not [found for found in OURS if room(found.imported) == "cli" and room(found.importer) not in TOP]


def test_no_circle_of_modules():
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for found in OURS:
        if found.imported != found.importer and room(found.importer) not in TOP:
            graph[found.importer].add(found.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")


def test_a_model_file_imports_no_other_model_file():
    assert not [
        found for found in OURS if found.importer.startswith("models.") and found.imported.startswith("models.")
    ]


@pytest.mark.parametrize(
    "name",
    [
        "coding",
        "data.files",
        "data.images",
        "index.hash_index",
        "index.storage",
        "zoo",
        "codec",
        "hasher",
        "latents",
        "native_build",
        "engine.protocol",
        "engine.opening",
        "engine.networks",
        "engine.onnx_engine",
        "engine.hashing",
        "engine.extractor",
        "engine.fitting",
        "engine.onnx_file",
        "engine.rotation",
    ],
)
def test_rooms_without_torch(name):
    inside = [found for found in IMPORTS if f"{found.importer}.".startswith(f"{name}.")]
    assert inside
    assert not [found.importer for found in inside if found.imported == "torch" and not found.typing_only]


def test_contracts_name_torch_for_type_checkers_only():
    assert not [f for f in IMPORTS if f.importer == "contracts" and f.imported == "torch" and not f.typing_only]


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def names_made_in(tree: ast.Module) -> set[str]:
    """Functions, classes, variables and attributes that a module makes."""
    made = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            made.add(node.name)
        elif isinstance(node, (ast.Attribute, ast.Name)) and isinstance(node.ctx, ast.Store):
            made.add(node.attr if isinstance(node, ast.Attribute) else node.id)
    return made


def test_nobody_touches_the_private_names_of_another_module():
    made = {module: {name for name in names_made_in(tree) if private(name)} for module, tree in TREES.items()}
    touched = []
    for module, tree in TREES.items():
        others = set().union(*(names for other, names in made.items() if other != module)) - made[module]
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                touched += [f"{module} imports {alias.name}" for alias in node.names if private(alias.name)]
            elif isinstance(node, ast.Attribute) and node.attr in others:
                touched.append(f"{module}: {ast.unparse(node)}")
    assert not [text for text in touched if text not in FOREIGN]


#: Private names of compressai's modules, which have no public ones for it, and happen to be names of ours as well.
FOREIGN: set[str] = set()


def test_light_commands_load_no_torch():
    code = "import aecodec, aecodec.cli, aecodec.codec.info, sys; aecodec.info; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent, check=True)
    assert done.stdout.strip() == "False"


def test_pydantic_and_yaml_are_imported_in_one_place():
    places = {f.importer for f in IMPORTS if f.imported in ("yaml", "pydantic") and room(f.importer) not in TOP}
    assert places == {"train.config"}


def test_every_module_opens_with_a_sentence():
    silent = [name for name, tree in TREES.items() if tree.body and not ast.get_docstring(tree)]
    assert not silent
