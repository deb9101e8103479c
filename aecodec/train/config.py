"""The configuration of a training run, read from YAML, the environment and ``key=value`` settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from ..coding.container import MAX_NAME, is_model_name
from ..contracts import MissingDependencyError, UsageError
from ..models import family as find_family

try:
    import yaml
    from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
except ImportError as error:
    raise MissingDependencyError(f"training needs {error.name}: pip install 'aecodec[train]'") from error

#: AECODEC_TRAIN_STEPS=1000 sets ``steps``, and so on; a setting on the command line wins over it.
ENVIRONMENT_PREFIX = "AECODEC_TRAIN_"


class TrainConfig(BaseModel):
    """Everything a run depends on besides the data. ``model`` overrides the family's own configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: str
    size: str = "tiny"
    model: dict[str, Any] = Field(default_factory=dict)
    name: str = "model"
    seed: int = 0
    device: str = "auto"
    threads: int = Field(0, ge=0, description="CPU threads; 0 leaves torch's choice")
    steps: int = Field(100_000, ge=1)
    time_budget: float | None = Field(None, gt=0, description="seconds over which the schedule is stretched instead")
    batch: int = Field(16, ge=1, description="crops or items per step and process")
    crop: int = Field(128, ge=64, multiple_of=64)
    late_crop: int | None = Field(None, ge=64, multiple_of=64, description="crop size after `late_from`")
    late_from: float = Field(0.85, ge=0, le=1)
    downscale: float = Field(0.5, gt=0, le=1)
    view: Literal["crops", "colour", "grey", "gradients"] = Field(
        "crops", description="of photographs; all but crops are of whole pictures squeezed to crop x crop"
    )
    only: int | None = Field(None, ge=0, description="class of a labelled array to train on alone")
    hold_out: int = Field(20, ge=0)
    optimizer: Literal["adamw", "soap", "sgd"] = "adamw"
    learning_rate: float = Field(8e-4, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    warmup: int = Field(200, ge=0)
    schedule: Literal["cosine", "wsd"] = "wsd"
    decay_share: float = Field(0.3, gt=0, le=1, description="share of the run in which wsd decays")
    clip: float = Field(1.0, gt=0)
    ema: float = Field(0.999, ge=0, lt=1)
    autocast: bool = True
    compile: bool = False
    initialise: bool = True
    log_every: int = Field(50, ge=1)
    evaluate_every: int = Field(2000, ge=1)
    save_every: int = Field(1000, ge=1)
    half: bool = False
    calibration: int = Field(64, ge=0, description="training crops to which the exported tables are refitted")

    @field_validator("name")
    @classmethod
    def _fits_the_header_of_a_file(cls, name: str) -> str:
        if not is_model_name(name):
            raise ValueError(f"a model name is 1 to {MAX_NAME} letters, digits, '-', '_' or '.'")
        return name

    def to_yaml(self) -> str:
        """The file that `resolve` reads the same configuration from."""
        return yaml.safe_dump(self.model_dump(), sort_keys=False)


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
        try:
            node[leaf] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UsageError(f"--set {setting}: the value is not YAML") from None
    return tree


def read_config_file(path: Path) -> dict[str, Any]:
    """A YAML mapping. Raises UsageError."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a readable YAML file ({error})") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected a mapping of settings, found {type(content).__name__}")
    return content


def _environment() -> dict[str, Any]:
    found = {}
    for key, text in os.environ.items():
        if key.startswith(ENVIRONMENT_PREFIX):
            try:
                found[key.removeprefix(ENVIRONMENT_PREFIX).lower()] = yaml.safe_load(text)
            except yaml.YAMLError:
                raise UsageError(f"{key}={text}: the value is not YAML") from None
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
