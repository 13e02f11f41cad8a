"""`edgekit.lock`: what a run was made from and what came out, so that the same bytes can be made again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import edgekit
from edgekit.errors import UsageError
from edgekit.files import first_fault, located, read_at_most, write_json
from edgekit.pipeline.run._hashes import Hashes
from edgekit.pipeline.run._keys import LIBRARIES, code_sha256, library_version, python_version
from edgekit.pipeline.run._lines import RunOutcome
from edgekit.pipeline.run._read import pipeline_of, settings_of
from edgekit.pipeline.run._settings import Pipeline
from edgekit.shipped import shipped, shipped_checkpoint

SCHEMA: Final = "edgekit.lock/"
VERSION: Final = 1
_LARGEST_FILE = 16 << 20


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class LockedStage(_Strict):
    """A stage: the hash of each input, and of each output whose bytes are the same when it is made again."""

    stage: str
    inputs: dict[str, str]
    outputs: dict[str, str]


class Machine(_Strict):
    """What the bytes depend on besides inputs and code: the processor, and how many threads share a sum."""

    cpu: str
    int8: list[str]
    threads: int
    system: str


class Lock(_Strict):
    """The content of a lock file."""

    schema_: Literal["edgekit.lock/1"] = Field(alias="schema")
    edgekit: str
    code: str
    python: str
    libraries: dict[str, str | None]
    machine: Machine
    settings: dict[str, Any]
    sources: dict[str, str]
    stages: list[LockedStage]

    @property
    def pipeline(self) -> Pipeline:
        """The settings as a pipeline; raises pydantic's ValidationError."""
        return pipeline_of(self.settings)


def sources_of(pipeline: Pipeline, folder: Path, hashes: Hashes) -> dict[str, str]:
    """Return the hash of each file and folder that a pipeline reads, by its key; raises UsageError EK011."""
    named = {key: located(folder, path) for key, path in pipeline.files()}
    if pipeline.model.path is None:
        named["the model that ships"] = shipped_checkpoint()
    named["the sample that ships"] = shipped("calibration")
    named["the target cards that ship"] = shipped("engines")
    return {key: hashes.of(path) for key, path in named.items()}


def libraries() -> dict[str, str | None]:
    """Return the version of every library that counts."""
    return {name: library_version(name) for name in sorted({name for names in LIBRARIES.values() for name in names})}


def write_lock(path: Path, pipeline: Pipeline, outcome: RunOutcome, folder: Path, hashes: Hashes) -> None:
    """Write the lock of a run, unless the file says the same already; raises UsageError EK003."""
    settings = settings_of(pipeline)
    stages = [
        {"stage": stage.stage, "inputs": stage.inputs, "outputs": {name: stage.files[name] for name in stage.same}}
        for stage in outcome.stages
    ]
    code = code_sha256(hashes)
    if not any(stage.made for stage in outcome.stages) and path.is_file():
        known = read_lock(path)
        if (known.settings, known.code) == (settings, code) and [each.model_dump() for each in known.stages] == stages:
            return
    write_json(
        path,
        {
            "schema": f"{SCHEMA}{VERSION}",
            "edgekit": edgekit.__version__,
            "code": code,
            "python": python_version(),
            "libraries": libraries(),
            "machine": machine(pipeline.run.threads).model_dump(),
            "settings": settings,
            "sources": sources_of(pipeline, folder, hashes),
            "stages": stages,
        },
    )


def machine(threads: int) -> Machine:
    """Return what this machine is, without its name."""
    from edgekit.report import environment

    found = environment()
    return Machine(
        cpu=found.cpu, int8=list(found.cpu_int8), threads=threads or found.cores, system=found.os.partition("-")[0]
    )


def read_lock(path: Path) -> Lock:
    """Read a lock file that anybody may have written.

    Raises:
        UsageError: EK011 when there is none, EK013 when a newer version wrote it, EK015 when it is damaged.
    """
    try:
        content = read_at_most(path, _LARGEST_FILE)
    except OSError as error:
        raise UsageError(
            "EK011",
            f"the lock file cannot be read: {error.strerror or error}",
            where=str(path),
            hint="edgekit run writes it beside the pipeline file",
        ) from error
    try:
        facts = json.loads(content or b"")
        number = str(facts["schema"]).removeprefix(SCHEMA)
        if number.isdecimal() and int(number) > VERSION:
            raise UsageError(
                "EK013",
                f"the lock file is of version {number}, this edgekit reads {VERSION}",
                where=str(path),
                hint="upgrade edgekit",
            )
        lock = Lock.model_validate(facts)
        _ = lock.pipeline
    except ValidationError as error:
        raise _damaged(path, first_fault(error)) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, "it is no lock file") from error
    return lock


def require_replaceable(path: Path) -> None:
    """Refuse before any work to write over a lock that is not this version's: raises UsageError EK013 or EK015."""
    if path.is_file():
        read_lock(path)


def _damaged(path: Path, what: str) -> UsageError:
    return UsageError(
        "EK015", what, where=str(path), hint="restore it with git, or remove it and run the pipeline again"
    )


@dataclasses.dataclass(frozen=True)
class Difference:
    """One thing that is not what the lock says: its name, what it was, what it is."""

    what: str
    was: str
    now: str


def environment_differences(lock: Lock, hashes: Hashes) -> tuple[Difference, ...]:
    """Return what of edgekit, its libraries and this machine is not what the lock says."""
    here = machine(lock.pipeline.run.threads)
    now = libraries()
    pairs: list[tuple[str, object, object]] = [
        ("edgekit", lock.edgekit, edgekit.__version__),
        ("edgekit's code", lock.code[:12], code_sha256(hashes)[:12]),
        ("Python", lock.python, python_version()),
        *((name, lock.libraries.get(name), now.get(name)) for name in sorted({*lock.libraries, *now})),
        ("processor", lock.machine.cpu, here.cpu),
        ("int8 instructions", ", ".join(lock.machine.int8), ", ".join(here.int8)),
        ("threads", lock.machine.threads, here.threads),
        ("system", lock.machine.system, here.system),
    ]
    return tuple(Difference(name, str(was), str(found)) for name, was, found in pairs if was != found)
