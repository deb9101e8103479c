"""A tile fitted: its latents and networks moved down bits per pixel + lambda * squared error, then made whole numbers.

The schedule is that of Cool-chic and C3, made shorter: latents are softly rounded, with noise, at a temperature that
falls; at the end they are rounded as they are in the file. Adam moves everything, at rates that fall along a cosine.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..coding import golomb
from . import priors
from .layout import GROUPS, SLICES, WEIGHTS, grid_sizes
from .weights import FINEST, CodedWeights

#: Iterations at each effort.
ITERATIONS = {1: 300, 2: 500, 3: 800, 4: 1200, 5: 2000, 6: 3000, 7: 4500, 8: 7000, 9: 10000}


@dataclass(frozen=True)
class Schedule:
    """How a fit goes on. rounded: of all iterations, the share at the end whose latents are rounded; most_rounded: of
    these, the most there are; temperatures, noise: of soft rounding and deviations of the noise, at the beginning and
    before these; weight_rate, latent_rate: of steps at the beginning, of latents in quantisation steps; memory: of all
    iterations, the share over which Adam averages the squares of gradients. They shrink fast at the beginning, so a
    short fit must not remember them for long; in a long one, a short memory would let latents of no use walk about.

    Rounded latents have gradients that are the same each time, and Adam's steps are as long for small ones: over
    hundreds of iterations they take latents that had settled to other integers, and the cost rises by a fifth."""

    rounded: float = 0.08
    most_rounded: int = 96
    temperatures: tuple[float, float] = (0.35, 0.08)
    noise: tuple[float, float] = (0.22, 0.15)
    weight_rate: float = 1e-2
    latent_rate: float = 0.13
    memory: float = 1.0 / 15.0
    fine: float = 0.3

    def betas(self, iterations: int) -> tuple[float, float]:
        """Of Adam, in a fit of so many iterations."""
        return 0.9, 1.0 - 1.0 / max(self.memory * iterations, 10.0)


SCHEDULE = Schedule()
_TINY = 1e-8
#: Values of noise that iterations share, beside those of one.
_SPARE = 1 << 20
#: Latents are kept within this.
_FARTHEST = 4096.0
#: The coarsest step that is tried for weights is 2^-COARSEST.
_COARSEST = 2


class Fitter(Protocol):
    """What computes costs and gradients of a tile; see `native.NativeFit`."""

    height: int
    width: int
    latents: int

    def set_target(self, pixels: np.ndarray) -> None: ...

    def cost(self, latents: np.ndarray, weights: np.ndarray) -> tuple[float, float]: ...

    def gradients(
        self,
        latents: np.ndarray,
        weights: np.ndarray,
        noise: np.ndarray | None,
        temperature: float,
        amount: float,
        trade: float,
        to_latents: np.ndarray,
        to_weights: np.ndarray,
        turn: int = -1,
    ) -> tuple[float, float]: ...

    def step(
        self, latents: np.ndarray, gradient: np.ndarray, moments: np.ndarray, numbers: tuple[float, ...]
    ) -> None: ...

    def close(self) -> None: ...


@dataclass
class State:
    """What is fitted. latents: (n,) float32, grid after grid, in quantisation steps; weights: (WEIGHTS,) float32."""

    latents: np.ndarray
    weights: np.ndarray


#: Told after each iteration: how many are done, of how many -> whether to go on.
Watch = Callable[[int, int], bool]


def fit(
    fitter: Fitter,
    state: State,
    trade: float,
    iterations: int,
    watch: Watch,
    *,
    schedule: Schedule = SCHEDULE,
    seed: int = 0,
    pace: float = 1.0,
) -> None:
    """Moves a state down the cost at lambda ``trade``, of a fitter that has its target. pace: of all rates.

    The same machine gives the same state for the same arguments. Ends early if ``watch`` says so, as after a last
    iteration.
    """
    rng = np.random.default_rng(seed)
    pool = rng.standard_normal(fitter.latents + _SPARE, dtype=np.float32)
    gradient, moments = np.zeros(fitter.latents, np.float32), np.zeros((2, fitter.latents), np.float32)
    to_weights, first, second = np.zeros(WEIGHTS, np.float32), np.zeros(WEIGHTS), np.zeros(WEIGHTS)
    soft = iterations - min(round(schedule.rounded * iterations), schedule.most_rounded)
    beta1, beta2 = schedule.betas(iterations)
    ends = np.cumsum([0, *(h * w for h, w in grid_sizes(fitter.height, fitter.width))])
    grids = [slice(start, end) for start, end in itertools.pairwise(ends)]
    for done in range(iterations):
        share = min(done / max(soft, 1), 1.0)
        temperature, amount = (low + (high - low) * share for low, high in (schedule.temperatures, schedule.noise))
        at = int(rng.integers(_SPARE))
        noise = pool[at : at + fitter.latents] if done < soft else None
        fitter.gradients(state.latents, state.weights, noise, temperature, amount, trade, gradient, to_weights, done)
        rate = 0.5 * pace * (1.0 + math.cos(math.pi * done / iterations))
        correct1, correct2 = 1.0 / (1.0 - beta1 ** (done + 1)), 1.0 / (1.0 - beta2 ** (done + 1))
        for k, part in enumerate(grids):
            length = schedule.latent_rate * rate * min(1.0, (done + 1) / max(schedule.fine * 0.5**k * iterations, 1.0))
            numbers = length, beta1, beta2, correct1, correct2
            fitter.step(state.latents[part], gradient[part], moments[:, part], numbers)
        first += (1.0 - beta1) * (to_weights - first)
        second += (1.0 - beta2) * (np.square(to_weights, dtype=np.float64) - second)
        step = schedule.weight_rate * rate * first * correct1
        state.weights -= (step / (np.sqrt(second * correct2) + _TINY)).astype(np.float32)
        if not watch(done + 1, iterations):
            break
    np.clip(state.latents, -_FARTHEST, _FARTHEST, out=state.latents)


def begin(fitter: Fitter, trade: float) -> State:
    """Latents of zero, and the networks learnt in advance for a lambda."""
    learnt = priors.priors()[priors.nearest(trade)]
    return State(np.zeros(fitter.latents, np.float32), (learnt * 2.0**-priors.POINT).astype(np.float32))


def code(fitter: Fitter, state: State, trade: float) -> CodedWeights:
    """The weights in steps that cost least, found for one group after another, from the finest on."""
    prior = priors.nearest(trade)
    learnt = priors.priors()[prior] * 2.0**-priors.POINT
    latents = np.rint(state.latents)
    pixels = fitter.height * fitter.width
    exponents = [FINEST] * len(GROUPS)
    weights = state.weights.copy()

    def cost(group: int, exponent: int) -> float:
        part = SLICES[group]
        values = np.rint((state.weights[part] - learnt[part]) * 2.0**exponent)
        weights[part] = learnt[part] + values * 2.0**-exponent
        bits, error = fitter.cost(latents, weights)
        return (bits + golomb.bits_of(values)[1]) / pixels + trade * error

    for group in range(len(GROUPS)):
        best, worse = cost(group, FINEST), 0
        for exponent in range(FINEST - 1, _COARSEST - 1, -1):
            found = cost(group, exponent)
            if found < best:
                best, exponents[group], worse = found, exponent, 0
            elif (worse := worse + 1) == 2:
                break
        cost(group, exponents[group])
    return CodedWeights.of(state.weights, tuple(exponents), prior)


def open_fitter(height: int, width: int) -> Any:
    """The kernels, or torch without a compiler. Raises MissingDependencyError without either."""
    from . import native

    if native.available():
        return native.NativeFit(height, width)
    from .torch_fit import TorchFit

    return TorchFit(height, width)
