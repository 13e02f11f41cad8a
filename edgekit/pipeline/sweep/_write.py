"""The files of a finished sweep: the front as a table that programs read, as a plot, and as models to use."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from edgekit.files import refusing_write_errors, write_bytes, write_json
from edgekit.pipeline.sweep._candidate import Measurement
from edgekit.pipeline.sweep._plot import plot
from edgekit.pipeline.sweep._search import PIECES_FOLDER, SweepOutcome, command_of
from edgekit.pipeline.sweep._study import Trial
from edgekit.pipeline.sweep._trial import CHECKPOINT_FILE, USEFUL_FILES

SCHEMA: Final = "edgekit.sweep/1"
FRONT_FILE, PLOT_FILE, FRONT_FOLDER = "front.json", "front.svg", "front"


def write_sweep(outcome: SweepOutcome) -> tuple[str, ...]:
    """Write `front.json`, with two objectives `front.svg`, and a folder of files for each candidate on the front.

    Returns:
        The names of what was written.

    Raises:
        UsageError: EK003 when it cannot be written.
    """
    written = [FRONT_FILE, *([FRONT_FOLDER] if outcome.front else [])]
    _write_models(outcome)
    if len(outcome.settings.sweep.objectives) == 2:
        write_bytes(outcome.output / PLOT_FILE, plot(outcome).encode())
        written.insert(1, PLOT_FILE)
    write_json(outcome.output / FRONT_FILE, facts(outcome))
    return tuple(written)


def facts(outcome: SweepOutcome) -> dict[str, Any]:
    """Return a sweep as plain data, as in `front.json`."""
    return {
        "schema": SCHEMA,
        "objectives": list(outcome.settings.sweep.objectives),
        "images": list(outcome.images),
        "exhausted": outcome.exhausted,
        "area": outcome.area,
        "baseline": _measurement(outcome.baseline),
        "front": [_on_front(outcome, trial) for trial in outcome.front],
        "trials": [_trial(trial) for trial in outcome.trials],
    }


def folder_of(trial: Trial) -> str:
    """Return the folder of a candidate on the front, below the output."""
    return f"{FRONT_FOLDER}/{trial.number:04}"


def _on_front(outcome: SweepOutcome, trial: Trial) -> dict[str, Any]:
    folder = outcome.output / folder_of(trial)
    checkpoint = folder / CHECKPOINT_FILE
    command = command_of(trial.candidate, outcome.settings, str(checkpoint) if checkpoint.exists() else None)
    return {**_trial(trial), "folder": str(folder), "command": shlex.join(command)}


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "candidate": trial.candidate.as_dict(),
        **_measurement(trial.measurement),
    }


def _measurement(measurement: Measurement) -> dict[str, Any]:
    content = dataclasses.asdict(measurement)
    # Where the pieces lie is no fact of the candidate.
    del content["folder"]
    return content


def _write_models(outcome: SweepOutcome) -> None:
    """Put the files of the front where those of an earlier run were, all of them or none."""
    place = outcome.output / FRONT_FOLDER
    with refusing_write_errors(place), tempfile.TemporaryDirectory(prefix=".edgekit-", dir=outcome.output) as staging:
        for trial in outcome.front:
            folder = Path(staging) / folder_of(trial)
            folder.mkdir(parents=True)
            pieces = outcome.output / PIECES_FOLDER / trial.measurement.folder
            for name in USEFUL_FILES:
                if (file := pieces / name).exists():
                    shutil.copyfile(file, folder / name)
            write_json(folder / "trial.json", _trial(trial))
        if place.exists():
            place.rename(Path(staging) / "earlier")
        if outcome.front:
            (Path(staging) / FRONT_FOLDER).rename(place)
