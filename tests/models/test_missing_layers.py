"""Families built on compressai's layers say what to install where those are missing, whatever else is there."""

from __future__ import annotations

import sys

import pytest
from places import GOLDEN

from aecodec import checkpoint
from aecodec.contracts import MissingDependencyError
from aecodec.models import family

ON_COMPRESSAI = ("factorized-prior", "mean-scale-hyperprior")


@pytest.fixture(autouse=True)
def no_compressai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "compressai.entropy_models", None)


@pytest.mark.parametrize("name", ON_COMPRESSAI)
def test_building_one_says_which_extra_and_why_it_is_not_for_every_python(name: str) -> None:
    model_class, config_class = family(name).load()
    with pytest.raises(MissingDependencyError, match=r"'aecodec\[compressai\]', on Python 3.10 to 3.12") as error:
        model_class(config_class(n=8, m=12))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ON_COMPRESSAI)
def test_loading_a_checkpoint_says_so_too(name: str) -> None:
    with pytest.raises(MissingDependencyError, match=r"aecodec\[compressai\]"):
        checkpoint.load(GOLDEN / "v1" / f"{name}.safetensors")


@pytest.mark.parametrize("name", ON_COMPRESSAI)
def test_the_family_can_be_listed_without_them(name: str) -> None:
    assert set(family(name).sizes()) == {"tiny", "base", "high"}
