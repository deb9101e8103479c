"""What every embedded autoencoder promises: it loads, it is small, and its card tells of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from aecodec import checkpoint
from aecodec.contracts import Autoencoder, Restorer, Variational
from aecodec.models import FAMILIES
from aecodec.tasks import anomaly, generate
from aecodec.zoo.registry import EMBEDDED, SUFFIX, read_header

PATHS = sorted(EMBEDDED.glob(f"*{SUFFIX}"))
ROLES = {name: family.role for name, family in FAMILIES.items()}
AUTOENCODERS = [path for path in PATHS if ROLES.get(read_header(path)["family"]) == "autoencoder"]
LARGEST = 3_000_000


@pytest.mark.parametrize("path", AUTOENCODERS, ids=lambda path: path.stem)
def test_a_card_lies_beside_every_autoencoder_and_names_its_fingerprint(path: Path):
    header = read_header(path)
    assert header["name"] == path.stem
    card = path.with_suffix(".md").read_text()
    assert card.startswith(f"# {path.stem}\n")
    assert header["fingerprint"].hex() in card
    assert header["family"] in card


@pytest.mark.parametrize("path", AUTOENCODERS, ids=lambda path: path.stem)
def test_a_small_autoencoder_loads_and_does_what_its_family_is_for(path: Path):
    assert path.stat().st_size < LARGEST
    model = checkpoint.load(path).module
    assert isinstance(model, (Autoencoder, Restorer))
    if isinstance(model, Variational):
        drawn = generate.sample(model, 8, torch.Generator().manual_seed(0))
        assert drawn.isfinite().all()
        assert float(drawn.std(0).mean()) > 0.01, "samples differ"
    if isinstance(model, Autoencoder):
        x = torch.rand(4, *model.shape, generator=torch.Generator().manual_seed(0))
        assert anomaly.scores(model, x).isfinite().all()
