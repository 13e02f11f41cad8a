"""Small pipelines on a smaller model and the sample that ships, and running them."""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.pipeline.run import RunOutcome, RunRequest, load_pipeline, run_pipeline

# Export, quantization and validation in seconds.
QUICK = """\
    [run]
    threads = 1

    [model]
    path = "smaller.safetensors"

    [data]
    calibration_samples = 24
    eval_samples = 60

    [export]

    [quantize]
    effort = "fast"

    [validate]
    max_drop = 20.0
    """
NO_VARIABLES: Mapping[str, str] = {}


def write(folder: Path, text: str = QUICK, name: str = "edgekit.toml") -> Path:
    """Write a pipeline file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def run(path: Path, *flags: str, environment: Mapping[str, str] = NO_VARIABLES, **options: Any) -> RunOutcome:
    """Run a pipeline file, as the command does."""
    loaded = load_pipeline(path, environment=environment, flags=flags)
    return run_pipeline(RunRequest(loaded.pipeline, loaded.folder, lock=path.with_suffix(".lock"), **options))


def made(outcome: RunOutcome) -> list[str]:
    """Return the stages that were made and not taken from the cache."""
    return [stage.stage for stage in outcome.stages if stage.made]


def bytes_of(outcome: RunOutcome) -> dict[str, str]:
    """Return the hash of each file that is the same when it is made again, as it lies in the output folder."""
    return {
        f"{stage.stage}/{name}": hashlib.sha256((stage.folder / name).read_bytes()).hexdigest()
        for stage in outcome.stages
        for name in stage.same
    }


def snapshot(folder: Path, leave_out: Sequence[str] = ()) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in leave_out
    }


def facts(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
