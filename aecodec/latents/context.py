"""The four steps in which the flagship's latents are predicted, and which latent belongs to which."""

from __future__ import annotations

import numpy as np

STEPS = 4
#: Phase (row, column) within each 2x2 cell. In step s, channels c with c % 4 == g decode phase (g + s) % 4.
PHASES = ((0, 0), (1, 1), (0, 1), (1, 0))


def step_map(channels: int, height: int, width: int) -> np.ndarray:
    """(channels, height, width) uint8: the step of each latent, every step once in each 2x2 cell.

    The partition over channel groups and quarter phases is that of DCVC-DC (Li, Li, Lu 2023, fig. 4).
    """
    phase = np.zeros((2, 2), np.int64)
    for index, (row, column) in enumerate(PHASES):
        phase[row, column] = index
    placed = phase[np.arange(height) % 2][:, np.arange(width) % 2]
    group = (np.arange(channels) % STEPS)[:, None, None]
    return ((placed - group) % STEPS).astype(np.uint8)


def cells_of_step(plane: np.ndarray, step: int) -> np.ndarray:
    """(channels, height, width), sides even -> the latents of a step, (channels, height / 2, width / 2): of each 2x2
    cell and channel one."""
    channels, height, width = plane.shape
    cells = np.empty((channels, height // 2, width // 2), plane.dtype)
    for group in range(STEPS):
        row, column = PHASES[(group + step) % STEPS]
        cells[group::STEPS] = plane[group::STEPS, row::2, column::2]
    return cells


def put_step(plane: np.ndarray, step: int, cells: np.ndarray) -> None:
    """Write into a plane what `cells_of_step` would take out of it."""
    for group in range(STEPS):
        row, column = PHASES[(group + step) % STEPS]
        plane[group::STEPS, row::2, column::2] = cells[group::STEPS]
