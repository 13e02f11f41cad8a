"""Runs a pipeline: stage by stage, each from the cache where it is there, else made and kept."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import edgekit
from edgekit.errors import UsageError
from edgekit.files import refusing_write_errors, sha256_of, write_json, writing
from edgekit.pipeline.run import _lock
from edgekit.pipeline.run._cache import Cache, Entry, Kind, Record
from edgekit.pipeline.run._claim import claiming
from edgekit.pipeline.run._jobs import STEPS, Given, Job, Step, job_of, measurement_of, start, steps_of
from edgekit.pipeline.run._keys import code_sha256, key_of
from edgekit.pipeline.run._lines import RunOutcome, StageLine, StageOutcome
from edgekit.pipeline.run._read import settings_of
from edgekit.pipeline.run._settings import Pipeline

RUN_FILE = "run.json"
RUN_SCHEMA = "edgekit.run/1"
# Made again from where they ended; of the others an earlier process leaves nothing of use.
RESUMABLE: frozenset[Kind] = frozenset({"train", "recover", "export"})
StartProgress = Callable[[str, int | None], Callable[[int], None]]


@dataclasses.dataclass(frozen=True)
class RunRequest:
    """What to run, and how.

    Attributes:
        pipeline: The settings.
        folder: What paths in them are relative to.
        start_from: Stage that is made again, with all after it, though the cache has them; None takes what it has.
        force: Everything is made again.
        lock: Lock file to write; None writes none.
        measure: Measure each model; otherwise only files are made.
    """

    pipeline: Pipeline
    folder: Path = Path()
    start_from: str | None = None
    force: bool = False
    lock: Path | None = None
    measure: bool = True


def silent(title: str, total: int | None) -> Callable[[int], None]:
    """Show no progress."""
    return lambda amount: None


def run_pipeline(
    request: RunRequest,
    *,
    progress: StartProgress = silent,
    on_stage: Callable[[StageOutcome], None] = lambda outcome: None,
) -> RunOutcome:
    """Run every stage of a pipeline: train, prune, recover, export, quantize, build, validate, gate.

    Each calls the function that the command of its name calls. What was made before from the same inputs, options,
    code and libraries is taken from the cache; what an earlier process was killed in goes on. The results of each
    stage are copied into a folder of its name below the output folder.

    Args:
        request: What to run.
        progress: Starts a progress bar.
        on_stage: Called after each stage.

    Raises:
        UsageError: EK003 when something cannot be written, EK010 for a stage that is not there, EK011 when an input
            is gone, EK012 when another run is going on, EK013 when the cache or lock is newer than this edgekit.
        EdgekitError: As the functions of the stages.
    """
    steps = steps_of(request.pipeline)
    forced = _forced(request, steps)
    output = request.folder / request.pipeline.run.output
    if request.lock is not None:
        _lock.require_replaceable(request.lock)
    with claiming(output), Cache(request.folder / request.pipeline.run.cache).used() as cache:
        run = _Run(cache, output, forced, progress)
        given = start(request.pipeline, request.folder)
        outcomes: list[StageOutcome] = []
        lines: list[StageLine] = []
        for step in steps:
            outcome, given = run.step(job_of(step, given), given)
            outcomes.append(outcome)
            on_stage(outcome)
            if request.measure and (measurement := measurement_of(step, given)) is not None:
                entry, _, _ = run.entry(measurement)
                lines.append(StageLine(**{**entry.record.facts, "stage": step}))
        _remove_stale(output, outcomes)
        result = RunOutcome(
            tuple(outcomes), tuple(lines), output, request.lock, code_sha256(cache.hashes), tuple(run.notes)
        )
        _write(result, request, output)
        if request.lock is not None:
            _lock.write_lock(request.lock, request.pipeline, result, request.folder, cache.hashes)
    return result


def _forced(request: RunRequest, steps: tuple[Step, ...]) -> Collection[str]:
    if request.force:
        return steps
    if request.start_from is None:
        return ()
    if request.start_from not in steps:
        raise UsageError(
            "EK010",
            f"the pipeline has no stage {request.start_from!r}",
            where="--from",
            hint=f"take one of {', '.join(steps)}",
        )
    first = STEPS.index(next(step for step in steps if step == request.start_from))
    return tuple(step for step in steps if STEPS.index(step) >= first)


class _Run:
    """One run with its cache.

    Args:
        cache: Where results are kept.
        output: Where they are copied to.
        forced: Steps that are made again.
        progress: Starts a progress bar.
    """

    def __init__(self, cache: Cache, output: Path, forced: Collection[str], progress: StartProgress) -> None:
        self._cache, self._output, self._forced, self._progress = cache, output, forced, progress
        self._made: set[tuple[Kind, str]] = set()
        self.notes: list[str] = []

    def step(self, job: Job, given: Given) -> tuple[StageOutcome, Given]:
        """Get the result of a step, and what the next one is given."""
        entry, inputs, made = self.entry(job)
        folder = self._output / job.step
        _copy(entry, folder, self._cache)
        record = entry.record
        outcome = StageOutcome(
            job.step, record.key, made, record.seconds, folder, record.files, tuple(record.same), inputs,
            record.facts, tuple(record.notes),
        )  # fmt: skip
        return outcome, given.after(job.step, entry, folder)

    def entry(self, job: Job) -> tuple[Entry, dict[str, str], bool]:
        """Return the result of a job, the hashes of its inputs, and whether it was made now."""
        hashes = self._cache.hashes
        inputs = {name: hashes.of(path) for name, path in job.inputs.items()}
        key = key_of(job.kind, job.options, inputs, hashes)
        again = job.step in self._forced and (job.kind, key) not in self._made
        known = self._find(job.kind, key)
        if known is not None and not again:
            return known, inputs, False
        with self._cache.making(job.kind, key) as making:
            entry = None if again else making.finished(hashes)
            if entry is None:
                if job.kind not in RESUMABLE:
                    making.clear()
                entry = making.finish(self._make(job, key, inputs, making.folder))
        self._made.add((job.kind, key))
        if known is not None and known.same != entry.same:
            self.notes.append(f"{job.step}: made again it has other bytes: measured times, or threads, decide in it")
        return entry, inputs, True

    def _find(self, kind: Kind, key: str) -> Entry | None:
        try:
            return self._cache.find(kind, key)
        except UsageError as error:
            if error.code != "EK014":
                raise
            self.notes.append(f"{error.code} {error.where}: {error.what}; it was made again")
            return None

    def _make(self, job: Job, key: str, inputs: Mapping[str, str], folder: Path) -> Record:
        # Imported here: a run that makes nothing must not wait for torch.
        from edgekit.pipeline.run import _calls

        started = time.monotonic()
        made = _calls.call(job.kind, job.step, job.given, folder, self._progress)
        files = {name: sha256_of(folder / name) for name in made.files}
        facts = json.loads(json.dumps(dict(made.facts)))
        return Record(
            kind=job.kind, key=key, edgekit=edgekit.__version__, inputs=dict(inputs), files=files, same=list(made.same),
            facts=facts, notes=list(made.notes), seconds=round(time.monotonic() - started, 3),
        )  # fmt: skip


def _copy(entry: Entry, folder: Path, cache: Cache) -> None:
    """Bring the files of a result into the output folder, each whole or not at all."""
    for name, sha256 in entry.record.files.items():
        target = folder / name
        if target.is_file() and cache.hashes.of(target) == sha256:
            continue
        with writing(target) as temporary:
            shutil.copyfile(entry.file(name), temporary)
        with refusing_write_errors(target):
            shutil.copymode(entry.file(name), target)
            # What a process that was killed while it copied this file left.
            for rest in target.parent.glob(f".{target.name}.*{target.suffix}"):
                rest.unlink()


def _remove_stale(output: Path, outcomes: list[StageOutcome]) -> None:
    """Remove what the last run wrote and this one does not stand for."""
    kept = {f"{outcome.stage}/{name}" for outcome in outcomes for name in outcome.files}
    try:
        last = json.loads((output / RUN_FILE).read_text(encoding="utf-8"))
        written = [f"{stage['stage']}/{name}" for stage in last["stages"] for name in stage["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return
    for name in set(written) - kept:
        path = output / name
        # The record may have been edited: nothing outside the folders of the stages is touched.
        if name.split("/")[0] in STEPS and path.resolve().is_relative_to(output.resolve()) and path.is_file():
            with refusing_write_errors(path):
                path.unlink()


def _write(result: RunOutcome, request: RunRequest, output: Path) -> None:
    content = record_of(result, request.pipeline)
    path = output / RUN_FILE
    if not any(stage.made for stage in result.stages) and _is(path, content):
        return
    write_json(path, content)


def record_of(result: RunOutcome, pipeline: Pipeline) -> dict[str, Any]:
    """Return what `run.json` says of a run."""
    return {
        "schema": RUN_SCHEMA,
        "edgekit": edgekit.__version__,
        "passed": result.passed,
        "code": result.code,
        "libraries": _lock.libraries(),
        "settings": settings_of(pipeline),
        "stages": [
            {
                "stage": stage.stage, "key": stage.key, "seconds": stage.seconds, "inputs": stage.inputs,
                "files": stage.files, "same": list(stage.same), "facts": stage.facts, "notes": list(stage.notes),
            }
            for stage in result.stages
        ],
        "lines": [dataclasses.asdict(line) for line in result.lines],
        "notes": list(result.notes),
    }  # fmt: skip


def _is(path: Path, content: Mapping[str, Any]) -> bool:
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")) == content)
    except (OSError, ValueError):
        return False
