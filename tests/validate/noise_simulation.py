"""How often two equally fast models are told apart, on machines that disturb a clock in different ways.

`python tests/validate/noise_simulation.py` prints the table of docs/bench.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.signal import lfilter

from edgekit.validate import is_different, noise_floor_of
from edgekit.validate._statistics import ratio_of_medians

Floats = np.ndarray[Any, np.dtype[np.float64]]
STRETCH, SETTLING, MODELS = 5, 2, 3
PLACES = 0.003  # standard deviation that the place of a session in memory has, of a time, on every machine below
RESAMPLES = 200
Machine = Callable[[np.random.Generator, int, int], Floats]


def white(generator: np.random.Generator, trials: int, frames: int) -> Floats:
    """Every frame for itself, 10 %."""
    return generator.normal(0, 0.1, (trials, frames))


def quiet(generator: np.random.Generator, trials: int, frames: int) -> Floats:
    """Every frame for itself, 0.5 %."""
    return generator.normal(0, 0.005, (trials, frames))


def autocorrelated(generator: np.random.Generator, trials: int, frames: int) -> Floats:
    """A frame is much like the one before it: 20 %, correlation 0.95."""
    innovations = generator.normal(0, np.sqrt(1 - 0.95**2), (trials, frames))
    slow = lfilter([1.0], [1.0, -0.95], innovations, axis=1)
    return np.asarray(0.2 * slow + generator.normal(0, 0.05, (trials, frames)), dtype=np.float64)


def drifting(generator: np.random.Generator, trials: int, frames: int) -> Floats:
    """The machine grows slower by two thirds from first to last frame."""
    return np.linspace(0, 0.5, frames) + generator.normal(0, 0.05, (trials, frames))


def wandering(generator: np.random.Generator, trials: int, frames: int) -> Floats:
    """A random walk of 1 % a frame."""
    walk = generator.normal(0, 0.01, (trials, frames)).cumsum(axis=1)
    return np.asarray(walk + generator.normal(0, 0.05, (trials, frames)), dtype=np.float64)


def bursts(generator: np.random.Generator, trials: int, frames: int) -> Floats:
    """Another program doubles the times for 40 frames or so, a fifth of the time."""
    return _two_states(generator, trials, frames, begins=1 / 160, ends=1 / 40)


def halves(generator: np.random.Generator, trials: int, frames: int) -> Floats:
    """Another program doubles the times for 60 frames or so, half of the time: the median falls between the two."""
    return _two_states(generator, trials, frames, begins=1 / 60, ends=1 / 60)


def _two_states(generator: np.random.Generator, trials: int, frames: int, *, begins: float, ends: float) -> Floats:
    slow = np.zeros((trials, frames), dtype=bool)
    slow[:, 0] = generator.random(trials) < begins / (begins + ends)
    draws = generator.random((trials, frames))
    for frame in range(1, frames):
        before = slow[:, frame - 1]
        slow[:, frame] = np.where(before, draws[:, frame] > ends, draws[:, frame] < begins)
    added = np.where(slow, generator.normal(np.log(2), 0.2, (trials, frames)), 0.0)
    return np.asarray(added + generator.normal(0, 0.03, (trials, frames)), dtype=np.float64)


MACHINES: Mapping[str, Machine] = {
    "quiet": quiet,
    "white": white,
    "autocorrelated": autocorrelated,
    "drifting": drifting,
    "wandering": wandering,
    "bursts": bursts,
    "halves": halves,
}


def timed(machine: Machine, blocks: int, trials: int, gain: float, generator: np.random.Generator) -> Floats:
    """Return times as `time_in_turns` gives them: (trials, models, blocks, frames of a block).

    The models are the first, one that is faster by the factor 1 + `gain`, and the first one's twin.
    """
    frames = machine(generator, trials, blocks * 2 * MODELS * (STRETCH + SETTLING))
    own = generator.normal(0, PLACES, (trials, MODELS))
    own[:, 1] -= np.log1p(gain)
    times = np.zeros((trials, MODELS, blocks, 2 * STRETCH))
    place = 0
    for block in range(blocks):
        order = [(step + block) % MODELS for step in range(MODELS)]
        done = [0] * MODELS
        for model in (*order, *reversed(order)):
            place += SETTLING
            stretch = frames[:, place : place + STRETCH] + own[:, model, None]
            times[:, model, block, done[model] : done[model] + STRETCH] = stretch
            place += STRETCH
            done[model] += STRETCH
    return np.asarray(np.exp(times), dtype=np.float64)


def simulated(machine: Machine, blocks: int, trials: int, *, gain: float = 0.0, seed: int = 0) -> tuple[float, float]:
    """Return the share of trials in which a difference is told, and the median width of the noise floor upwards."""
    times = timed(machine, blocks, trials, gain, np.random.default_rng(seed))
    told, reach = 0, []
    for trial, (first, second, twin) in enumerate(times):
        floor = noise_floor_of(ratio_of_medians(first, twin, resamples=RESAMPLES, seed=trial))
        told += is_different(ratio_of_medians(first, second, resamples=RESAMPLES, seed=trial), floor)
        reach.append(floor.high - 1)
    return told / trials, float(np.median(reach))


def main() -> None:
    """Print the table: false alarms, and how often a gain of 10 % is seen, at 50, 200 and 400 frames."""
    print("| machine | 50 frames | 200 frames | 400 frames | noise at 400 | 10 % faster, 400 frames |")
    print("|---|---|---|---|---|---|")
    for name, machine in MACHINES.items():
        alarms = [simulated(machine, blocks, 1000) for blocks in (5, 20, 40)]
        seen, _ = simulated(machine, 40, 300, gain=0.10)
        cells = [f"{100 * share:.1f} %" for share, _ in alarms]
        print(f"| {name} | {' | '.join(cells)} | ±{100 * alarms[-1][1]:.1f} % | {100 * seen:.0f} % |", flush=True)


if __name__ == "__main__":
    main()
