"""Making the results of a lock file again, from nothing, and saying whether they are the same."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

from edgekit.files import refusing_write_errors
from edgekit.pipeline.run._execute import RunRequest, StartProgress, run_pipeline, silent
from edgekit.pipeline.run._hashes import Hashes
from edgekit.pipeline.run._lines import StageOutcome
from edgekit.pipeline.run._lock import Difference, Lock, environment_differences, read_lock, sources_of


@dataclasses.dataclass(frozen=True)
class Reproduced:
    """One file that was made again.

    Attributes:
        stage: Stage that made it.
        file: Its name.
        same: It has the bytes that the lock names.
    """

    stage: str
    file: str
    same: bool


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """What making everything again came to.

    Attributes:
        files: Files by stage; empty when sources differ, for then nothing was made.
        sources: Data and weights that are not those of the lock.
        environment: What of edgekit, its libraries and this machine is not what the lock says.
    """

    files: tuple[Reproduced, ...]
    sources: tuple[Difference, ...]
    environment: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        """Whether every file has the bytes that the lock names."""
        return not self.sources and all(file.same for file in self.files)


def reproduce(
    path: Path,
    *,
    output: Path | None = None,
    progress: StartProgress = silent,
    on_stage: Callable[[StageOutcome], None] = lambda outcome: None,
) -> Reproduction:
    """Make the results that a lock file names again, with an empty cache, and compare their bytes.

    Args:
        path: The lock file; its paths are relative to its folder.
        output: Folder that keeps the results; None throws them away.
        progress: Starts a progress bar.
        on_stage: Called after each stage.

    Raises:
        UsageError: EK003 when nothing can be written, EK011 to EK015 for the lock and what it names.
        EdgekitError: As the functions of the stages.
    """
    lock = read_lock(path)
    folder = path.parent
    hashes = Hashes(folder / lock.pipeline.run.cache / "hashes.sqlite")
    found = sources_of(lock.pipeline, folder, hashes)
    sources = tuple(
        Difference(name, str(lock.sources.get(name))[:12], str(found.get(name))[:12])
        for name in sorted({*lock.sources, *found})
        if lock.sources.get(name) != found.get(name)
    )
    environment = environment_differences(lock, hashes)
    if sources:
        return Reproduction((), sources, environment)
    with refusing_write_errors(folder):
        temporary = tempfile.TemporaryDirectory(prefix=".edgekit-reproduce-", dir=folder)
    with temporary as scratch:
        made = _make(lock, folder, Path(scratch), output, progress, on_stage)
    files = tuple(
        Reproduced(stage.stage, name, made.get((stage.stage, name)) == sha256)
        for stage in lock.stages
        for name, sha256 in stage.outputs.items()
    )
    return Reproduction(files, (), environment)


def _make(
    lock: Lock,
    folder: Path,
    scratch: Path,
    output: Path | None,
    progress: StartProgress,
    on_stage: Callable[[StageOutcome], None],
) -> dict[tuple[str, str], str]:
    """Run the stages whose files can be the same, and return the hash of each file by stage and name."""
    pipeline = lock.pipeline
    places = {"output": (output or scratch / "output").resolve(), "cache": (scratch / "cache").resolve()}
    # Comparisons and engines are never the same: they measure time.
    update = {"run": pipeline.run.model_copy(update=places), "validation": None, "gate": None}
    if pipeline.build is not None and pipeline.build.way != "bundle":
        update["build"] = None
    request = RunRequest(pipeline.model_copy(update=update), folder, measure=False)
    outcome = run_pipeline(request, progress=progress, on_stage=on_stage)
    return {(stage.stage, name): sha256 for stage in outcome.stages for name, sha256 in stage.files.items()}
