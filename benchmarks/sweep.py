"""NSGA-II beside random search on the model that ships: the same space, the same number of trials, one run each.

    python benchmarks/sweep.py --output found

Both lie in folders of their own below `found`; the second is given the pieces of the first, so that what both try is
made once. Interrupted, the same command goes on. The area under the front (docs/sweep.md) is printed after every few
trials; only candidates that saw all images count.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from edgekit.pipeline.sweep import Standing, SweepOutcome, SweepRequest, area_under, front, sweep, write_sweep

TRIALS, STEP = 30, 5
SETTINGS = """
[sweep]
objectives = ["accuracy", "bytes"]
sampler = "SAMPLER"
seed = SEED

[space]
macs = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5]
precision = ["none", "dynamic", "static"]
calibration_method = ["auto", "minmax", "percentile", "entropy", "mse"]

[images]
calibration_samples = 32
pruning_samples = 32
evaluation_samples = 300

[pruning]
widths = "uniform"

[halving]
smallest = 100
"""


def searched(sampler: str, seed: int, folder: Path) -> SweepOutcome:
    """Run one sweep, or go on with it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "sweep.toml"
    file.write_text(SETTINGS.replace("SAMPLER", sampler).replace("SEED", str(seed)))
    outcome = sweep(
        SweepRequest(file, folder, TRIALS),
        on_trial=lambda trial: print(
            f"{sampler} {trial.number}: {trial.candidate.as_dict()} {trial.state}", flush=True
        ),
    )
    write_sweep(outcome)
    return outcome


def area_after(outcome: SweepOutcome, trials: int) -> float:
    """Return the area under the front of the first trials."""
    measured = [trial.measurement for trial in outcome.trials[:trials] if trial.state == "measured"]
    best = front([Standing(each.losses(outcome.settings)) for each in measured])
    whole = outcome.baseline.bytes
    return area_under([(measured[place].value("accuracy") / 100, measured[place].bytes / whole) for place in best])


def main() -> None:
    """Search twice, and print the areas."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    first = searched("nsga2", arguments.seed, arguments.output / "nsga2")
    shutil.copytree(arguments.output / "nsga2" / "work", arguments.output / "random" / "work", dirs_exist_ok=True)
    second = searched("random", arguments.seed, arguments.output / "random")
    print("\n| trials | NSGA-II | random |\n|---:|---:|---:|")
    for trials in range(STEP, TRIALS + 1, STEP):
        print(f"| {trials} | {area_after(first, trials):.4f} | {area_after(second, trials):.4f} |")


if __name__ == "__main__":
    main()
