"""How often `edgekit bench` tells a model from itself on this machine, and how wide its noise floor is.

Each run opens the same file three times, as baseline, as candidate and as the baseline's twin, and times them in turns:
whatever difference it tells is a false alarm. The figures are in docs/bench.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from edgekit.data import sample
from edgekit.models import NO_OVERRIDES
from edgekit.pipeline.measuring import first_images
from edgekit.pipeline.sources import open_source
from edgekit.validate import Entrant, Timings, runner, session, time_models, watching_machine


def main() -> None:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", help="an .onnx file or a checkpoint; default: the model that ships")
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--budget", type=float, default=30.0, help="seconds a run")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    source = open_source(options.model, NO_OVERRIDES, None)
    images = first_images(sample().evaluation, source.preprocessing, 1)
    with tempfile.TemporaryDirectory() as folder, watching_machine() as watch:
        path = Path(folder) / "model.onnx"
        path.write_bytes(source.model.SerializeToString())
        found = [
            one_run(path, images, options.frames, options.budget, options.threads, seed) for seed in range(options.runs)
        ]
    report(found)
    print(dataclasses.asdict(watch.state()))


def one_run(path: Path, images: np.ndarray, frames: int, budget: float, threads: int, seed: int) -> Timings:
    """Time three sessions of one file."""
    models = [runner(session(path, threads=threads)) for _ in range(3)]
    entrants = [Entrant(str(path), model, images) for model in models[:2]]
    return time_models(entrants, models[2], frames=frames, budget_s=budget, seed=seed)


def report(found: list[Timings]) -> None:
    """Print false alarms, the ratios that were measured, and the noise floors."""
    ratios = np.array([run.models[1].speedup.value for run in found if run.models[1].speedup is not None])
    alarms = sum(bool(run.models[1].different) for run in found)
    floors = 100 * (np.array([run.noise.high for run in found]) - 1)
    frames = [len(run.models[0].samples_ms) for run in found]
    p50 = [run.models[0].frame_ms.p50 for run in found]
    print(
        f"{len(found)} runs of {min(frames)} to {max(frames)} frames of each, p50 {min(p50):.2f} to {max(p50):.2f} ms"
    )
    print(f"false alarms: {alarms}")
    print(f"ratio of the model to itself: {ratios.min():.3f} to {ratios.max():.3f}")
    print(f"noise floor: median ±{np.median(floors):.1f} %, {floors.min():.1f} to {floors.max():.1f} %")


if __name__ == "__main__":
    main()
