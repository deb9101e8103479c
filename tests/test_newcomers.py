"""A newcomer touches at most two places: a file of its own and a line in a table."""

from __future__ import annotations

import io
import sys
import types

import numpy as np
import pytest

from aecodec import checkpoint
from aecodec.cli import run
from aecodec.coding import container
from aecodec.coding.container import SIDE, Header, SideChunk
from aecodec.contracts import Autoencoder
from aecodec.index import INDEXES, Backend
from aecodec.index.formats import FORMATS, Entry, lines
from aecodec.index.hash_index import HashIndex
from aecodec.index.oracle import NumpyScanner
from aecodec.models import FAMILIES, Family

MEAN = '''
"""The dullest family: an item is the mean of all items, whatever its code."""
from dataclasses import dataclass
import torch
from torch import nn
from aecodec.contracts import Loss

@dataclass(frozen=True)
class MeanConfig:
    shape: tuple[int, ...] = (3, 8, 8)

SIZES = {"tiny": MeanConfig()}
RECIPE = {"size": "tiny", "steps": 2, "hold_out": 0, "initialise": False}

class Mean(nn.Module):
    latents = 1

    def __init__(self, config):
        super().__init__()
        self.config, self.shape = config, tuple(config.shape)
        self.mean = nn.Parameter(torch.zeros(self.shape))

    def encode(self, x):
        return x.new_zeros((len(x), 1))

    def decode(self, z):
        return self.mean.expand(len(z), *self.shape)

    def reconstruct(self, x):
        return self.decode(self.encode(x))

    def loss(self, batch, rng, progress=0.0):
        return Loss((self.reconstruct(batch) - batch).square().mean())
'''


def test_a_family_is_a_file_and_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path, photo_folder, capsys):
    module = types.ModuleType("aecodec.models.mean")
    monkeypatch.setitem(sys.modules, "aecodec.models.mean", module)
    exec(compile(MEAN, "mean.py", "exec", dont_inherit=True), module.__dict__)
    monkeypatch.setitem(FAMILIES, "mean", Family("mean", "Mean", "MeanConfig", "the mean", role="autoencoder"))
    settings = ["--set", "crop=64", "--set", "batch=2", "--set", "late_crop=null", "--set", "autocast=false"]
    assert run(["train", "mean", "--data", str(photo_folder), "--out", str(tmp_path / "run"), *settings]) == 0
    path = tmp_path / "run" / "model.safetensors"
    frozen = checkpoint.load(path)
    assert isinstance(frozen.module, Autoencoder)
    assert frozen.module.shape == (3, 64, 64)
    detector = tmp_path / "detector.json"
    assert run(["anomaly", "fit", str(path), str(photo_folder), "-o", str(detector)]) == 0
    assert run(["models", "show", str(path), "--json"]) == 0
    assert '"mean"' in capsys.readouterr().out


def test_an_index_backend_is_a_file_and_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path):
    class Backwards(NumpyScanner):
        """The oracle over codes that it holds the other way round."""

    module = types.ModuleType("aecodec.index.backwards")
    module.Backwards = Backwards
    monkeypatch.setitem(sys.modules, "aecodec.index.backwards", module)
    monkeypatch.setitem(INDEXES, "backwards", Backend("backwards", "Backwards", "for the test"))
    codes = np.random.default_rng(0).integers(0, 256, (50, 8), np.uint8)
    index = HashIndex(hasher="mine", fingerprint=bytes(8), n_bits=64, backend="backwards")
    index.add(None, codes)
    assert index.search(codes[7:8], k=1).of(0)[0][0] == 7
    index.save(tmp_path / "x.hix")
    assert len(HashIndex.load(tmp_path / "x.hix", backend="backwards")) == 50


def test_a_format_of_exported_indexes_is_a_file_and_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path):
    module = types.ModuleType("aecodec.index.formats.upper")
    module.write = lambda reader, file: file.write(f"{reader.description.to_json(len(reader)).upper()}\n".encode())
    module.read = lambda file, name: lines.read(io.BytesIO(file.read().lower()), name)
    monkeypatch.setitem(sys.modules, "aecodec.index.formats.upper", module)
    monkeypatch.setitem(FORMATS, ".upper", Entry("upper", "for the test"))
    HashIndex(hasher="mine", fingerprint=bytes(8), n_bits=64).save(tmp_path / "a.hix")
    assert run(["index", "export", str(tmp_path / "a.hix"), "--to", str(tmp_path / "a.upper")]) == 0
    assert run(["index", "import", str(tmp_path / "a.upper"), "-o", str(tmp_path / "b.hix")]) == 0
    assert (tmp_path / "a.hix").read_bytes() == (tmp_path / "b.hix").read_bytes()


def test_a_chunk_is_a_line_and_travels_with_its_file(monkeypatch: pytest.MonkeyPatch):
    """What acts on it is the second place; nothing between needs to know."""
    monkeypatch.setitem(SIDE, "caption", SideChunk(b"c", str.encode, bytes.decode))
    data = container.write(Header(5, 3, 3, 500, "m", bytes(8)), [b"tile"], {"caption": "a cat", "icc": b"profile"})
    parsed = container.parse(data)
    assert parsed.side == {"caption": "a cat", "icc": b"profile"}
    assert container.write(parsed.header, parsed.tiles, parsed.side) == data
    monkeypatch.undo()
    assert container.parse(data).side == {"icc": b"profile"}
