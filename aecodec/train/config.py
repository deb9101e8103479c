"""The configuration of a training run, read from YAML, the environment and ``key=value`` settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from ..coding.container import MAX_NAME, is_model_name
from ..contracts import ImageReadError, MissingDependencyError, UsageError
from ..data.files import open_input
from ..data.records import is_number, shown
from ..models import family as find_family

try:
    import yaml
    from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
except ImportError as error:
    raise MissingDependencyError(f"training needs {error.name}: pip install 'aecodec[train]'") from error

#: AECODEC_TRAIN_STEPS=1000 sets ``steps``, and so on; a setting on the command line wins over it.
ENVIRONMENT_PREFIX = "AECODEC_TRAIN_"
#: Characters of a configuration, values in it, levels of nesting, and characters of it that an error shows.
MAX_YAML, _MAX_VALUES, _MAX_DEPTH, _SHOWN = 1 << 20, 10_000, 8, 200


class TrainConfig(BaseModel):
    """Everything a run depends on besides the data. ``model`` overrides the family's own configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    family: str
    size: str = "tiny"
    model: dict[str, Any] = Field(default_factory=dict)
    name: str = "model"
    seed: int = Field(0, ge=0, le=1 << 53)
    device: str = "auto"
    threads: int = Field(0, ge=0, le=4096, description="CPU threads; 0 leaves torch's choice")
    steps: int = Field(100_000, ge=1, le=1 << 40)
    time_budget: float | None = Field(
        None, gt=0, le=1e10, description="seconds over which the schedule is stretched instead"
    )
    batch: int = Field(16, ge=1, le=1 << 20, description="crops or items per step and process")
    crop: int = Field(128, ge=64, le=1 << 14, multiple_of=64)
    late_crop: int | None = Field(None, ge=64, le=1 << 14, multiple_of=64, description="crop size after `late_from`")
    late_from: float = Field(0.85, ge=0, le=1)
    downscale: float = Field(0.5, gt=0, le=1)
    view: Literal["crops", "colour", "grey", "gradients"] = Field(
        "crops", description="of photographs; all but crops are of whole pictures squeezed to crop x crop"
    )
    only: int | None = Field(None, ge=0, le=1 << 53, description="class of a labelled array to train on alone")
    hold_out: int = Field(20, ge=0, le=1 << 40)
    optimizer: Literal["adamw", "soap", "sgd"] = "adamw"
    learning_rate: float = Field(8e-4, gt=0, le=1e3)
    weight_decay: float = Field(0.0, ge=0, le=1e3)
    warmup: int = Field(200, ge=0, le=1 << 40)
    schedule: Literal["cosine", "wsd"] = "wsd"
    decay_share: float = Field(0.3, gt=0, le=1, description="share of the run in which wsd decays")
    clip: float = Field(1.0, gt=0, le=1e12)
    ema: float = Field(0.999, ge=0, lt=1)
    autocast: bool = True
    compile: bool = False
    initialise: bool = True
    log_every: int = Field(50, ge=1, le=1 << 40)
    evaluate_every: int = Field(2000, ge=1, le=1 << 40)
    save_every: int = Field(1000, ge=1, le=1 << 40)
    half: bool = False
    calibration: int = Field(
        64, ge=0, le=1 << 20, description="training crops to which the exported tables are refitted"
    )

    @field_validator("name")
    @classmethod
    def _fits_the_header_of_a_file(cls, name: str) -> str:
        if not is_model_name(name):
            raise ValueError(f"a model name is 1 to {MAX_NAME} letters, digits, '-', '_' or '.'")
        return name

    def to_yaml(self) -> str:
        """The file that `resolve` reads the same configuration from."""
        return yaml.safe_dump(self.model_dump(), sort_keys=False)


class _Loader(yaml.SafeLoader):
    """Gives up where nesting is deeper than any configuration's, before the parser's own recursion is."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self._depth > _MAX_DEPTH:
            raise ValueError(f"nested more than {_MAX_DEPTH} levels deep")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def _from_yaml(text: str, place: str) -> Any:
    """Numbers, words, true, false, null, and lists and mappings of them. Raises UsageError for anything else: dates,
    aliases that unfold without end, and what is no YAML."""
    try:
        if len(text) > MAX_YAML:
            raise ValueError(f"more than {MAX_YAML} characters")
        content = yaml.load(text, _Loader)
    except Exception as error:  # such as ValueError for a date that is none
        reason = str(error).splitlines()[0] if isinstance(error, ValueError) else "the value is not YAML"
        raise UsageError(f"{place[:_SHOWN]}: {reason}") from None
    if fault := _unfit(content):
        raise UsageError(f"{place[:_SHOWN]}: {fault}")
    return content


def _unfit(content: Any) -> str | None:
    """What is wrong with the values of nested lists and mappings, in words, or None."""
    level, seen = [content], 0
    for _ in range(_MAX_DEPTH):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                if not all(isinstance(key, str) for key in value):
                    return "names of settings are words"
                inner.extend(value.values())
            elif isinstance(value, list):
                inner.extend(value)
            elif not (value is None or isinstance(value, (bool, str)) or is_number(value)):
                return f"{shown(value)} is no setting: a finite number, a word, true, false or null is"
            if seen + len(inner) > _MAX_VALUES:
                return f"more than {_MAX_VALUES} values"
        level, seen = inner, seen + len(inner)
        if not level:
            return None
    return f"nested more than {_MAX_DEPTH} levels deep"


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """``["steps=10", "model.channels=32"]`` -> nested dict, values read as YAML. Raises UsageError."""
    tree: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise UsageError(f"--set takes key=value, got {setting!r}")
        node = tree
        *path, leaf = key.split(".")
        for part in path:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise UsageError(f"--set {setting}: {part} is not a group of settings")
        node[leaf] = _from_yaml(text, f"--set {setting}")
    return tree


def read_config_file(path: Path) -> dict[str, Any]:
    """A YAML mapping. Raises UsageError."""
    try:
        with open_input(path) as file:
            text = file.read(MAX_YAML + 1).decode()
    except (ImageReadError, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a readable YAML file ({error})") from error
    content = _from_yaml(text, str(path))
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected a mapping of settings, found {type(content).__name__}")
    return content


def _environment() -> dict[str, Any]:
    found = {}
    for key, text in os.environ.items():
        if key.startswith(ENVIRONMENT_PREFIX):
            found[key.removeprefix(ENVIRONMENT_PREFIX).lower()] = _from_yaml(text, f"{key}={text}")
    return found


def resolve(family: str, file: Path | None, settings: list[str], flags: dict[str, Any] | None = None) -> TrainConfig:
    """Precedence: flag > ``--set`` > environment > file > the family's recipe > default.

    Raises UnknownName for the family and UsageError with the first fault.
    """
    merged: dict[str, Any] = {
        **find_family(family).recipe(),
        **(read_config_file(file) if file else {}),
        **_environment(),
    }
    given = parse_settings(settings)
    if isinstance(merged.get("model"), dict) and isinstance(given.get("model"), dict):
        given["model"] = {**merged["model"], **given["model"]}
    merged.update(given)
    merged.update({k: v for k, v in (flags or {}).items() if v is not None})
    merged["family"] = family
    try:
        return TrainConfig(**merged)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"training configuration: {place}: {first['msg']}") from None
