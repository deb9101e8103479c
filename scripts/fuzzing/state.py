"""The law of training states: a named error, or a run that takes a step."""

from __future__ import annotations

import copy
import io
import random
from typing import Any

import torch

from aecodec.data.arrays import ArraySet
from aecodec.train import state as states
from aecodec.train.config import resolve
from aecodec.train.processes import World

from .law import HOSTILE, FileLaw, changed, places_of

SETTINGS = ["steps=4", "batch=2", "model.hidden=[8]", "model.latents=4", "model.shape=[1,4,4]"]


class StateLaw(FileLaw):
    """See the module's docstring."""

    suffix = ".pt"

    def __init__(self) -> None:
        super().__init__()
        self._world = World(torch.device("cpu"))
        self._items = ArraySet(torch.arange(64, dtype=torch.uint8).reshape(4, 1, 4, 4))
        run = states.start_run(resolve("autoencoder", None, SETTINGS), self._items, self._world)
        self._step(run)
        states.save_state(run, self.path.parent, self._world)
        saved = self.path.parent / states.STATE_FILE
        self._seed = saved.read_bytes()
        self._content: dict[str, Any] = torch.load(saved, weights_only=True)
        self._places = list(places_of(self._content))
        self._run = run

    def make(self, rng: random.Random, number: int) -> tuple[bytes, bool]:
        """A third is changed as bytes, the others in one or two values anywhere in the state."""
        if rng.random() < 0.33:
            return changed(rng, self._seed, [self._seed], head=2000), False
        content = copy.deepcopy(self._content)
        for _ in range(rng.randint(1, 2)):
            *path, last = rng.choice(self._places)
            node: Any = content
            try:
                for key in path:
                    node = node[key]
                node[last] = self._value(rng, node[last])
            except (KeyError, IndexError, TypeError):
                continue  # an earlier change took the place away
        buffer = io.BytesIO()
        torch.save(content, buffer)
        return buffer.getvalue(), True

    def _value(self, rng: random.Random, old: Any) -> Any:
        if not isinstance(old, torch.Tensor) or old.numel() > 1 << 20 or rng.random() < 0.2:
            return copy.deepcopy(rng.choice(HOSTILE))
        return rng.choice(
            [
                torch.full_like(old, 255 if old.dtype == torch.uint8 else 1),
                old.flatten()[: rng.randrange(old.numel() + 1)],
                old.double(),
                old.to(torch.int8),
                old.float() * float("nan"),
                old[None],
                torch.zeros(1).expand(1 << 40),
                torch.zeros(0),
            ]
        )

    def outcome(self, data: bytes, repaired: bool) -> str:
        """Resumed from, and a step made."""
        run = copy.deepcopy(self._run)
        states.load_state(run, self.path, self._world)
        self._step(run)
        return "resumed"

    def _step(self, run: states.Run) -> None:
        run.optimizer.zero_grad()
        run.model.loss(self._items.draw(2, run.rng), run.rng).total.backward()  # type: ignore[operator]
        run.optimizer.step()
