"""`edgekit sweep`: proposes, tries and tells, until the budget is spent; then says what is worth having."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edgekit.data import ImageSet, open_images, require_labels
from edgekit.errors import DataError, UsageError
from edgekit.files import check_folder, refusing_write_errors
from edgekit.models import NO_OVERRIDES, load
from edgekit.pipeline.cluster import HERE, Workers
from edgekit.pipeline.images import choose_images
from edgekit.pipeline.sources import open_source
from edgekit.pipeline.sweep._candidate import Candidate, Measurement
from edgekit.pipeline.sweep._front import Standing, area_under, front
from edgekit.pipeline.sweep._halving import shares
from edgekit.pipeline.sweep._pieces import key
from edgekit.pipeline.sweep._settings import SHIPPED, SweepSettings, read_settings
from edgekit.pipeline.sweep._study import Study, Trial, storage_in
from edgekit.pipeline.sweep._trial import Ground, Job, run_trial, standing
from edgekit.pipeline.validate import require_same

PIECES_FOLDER = "work"
# A candidate is compared with so many at most: more would say the same, and sorting takes their square.
_COMPARED = 200


@dataclasses.dataclass(frozen=True)
class SweepRequest:
    """Which sweep, and where to put it.

    Attributes:
        file: The sweep file.
        output: Folder for the front, the study and the pieces that trials share.
        trials: Candidates to try; None takes what the file says.
        storage: Address of the storage, as Optuna takes it; None takes an SQLite file in `output`.
    """

    file: Path
    output: Path
    trials: int | None = None
    storage: str | None = None


@dataclasses.dataclass(frozen=True)
class SweepOutcome:
    """What a sweep came to.

    Attributes:
        settings: What the sweep file says.
        trials: Every candidate that was tried, in the order they were done.
        front: Those of them that none dominates, the most accurate first; for one objective the best alone.
        baseline: The first model, whole and in FP32.
        area: Area under the front, 0 to 1 (`area_under`); None for one objective.
        images: Images of each share.
        exhausted: All candidates of the space were tried before the budget was spent.
        output: Folder of the results.
    """

    settings: SweepSettings
    trials: tuple[Trial, ...]
    front: tuple[Trial, ...]
    baseline: Measurement
    area: float | None
    images: tuple[int, ...]
    exhausted: bool
    output: Path


def sweep(
    request: SweepRequest,
    *,
    workers: Workers = HERE,
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> SweepOutcome:
    """Try candidates, or go on with a sweep that was interrupted or is to try more.

    Args:
        request: What to do.
        workers: Who tries candidates.
        on_trial: Called with each trial as it is done, and first with those of an earlier run.

    Raises:
        EdgekitError: EK023 for the file, EK024 for a study of other settings, EK026 when another sweep has the folder,
            EK1xx for models, EK2xx for images, EK02x for the cluster. What was tried before stays.
    """
    settings = read_settings(request.file)
    if request.trials is not None:
        changed = settings.sweep.model_copy(update={"trials": request.trials})
        settings = settings.model_copy(update={"sweep": changed})
    check_folder(request.output)
    with _claimed(request.output / ".lock"):
        ground, sizes = _ground(settings, request.output / PIECES_FOLDER)
        storage = request.storage or storage_in(request.output)
        study = Study(storage, settings, len(sizes), _made_from(ground))
        for trial in study.trials:
            on_trial(trial)
        baseline = run_trial(ground, Job(ground.baseline))
        _search(settings, ground, study, workers, on_trial)
    trials = tuple(study.trials)
    best = _front(trials, settings, len(sizes))
    area = _area(best, baseline, settings)
    exhausted = len(trials) < settings.sweep.trials
    return SweepOutcome(settings, trials, best, baseline, area, sizes, exhausted, request.output)


def require_feasible(outcome: SweepOutcome) -> None:
    """Raise UsageError EK025 when a sweep found no candidate that keeps its limits."""
    if outcome.front:
        return
    measured = [trial for trial in outcome.trials if trial.state != "failed"]
    nearest = "each of them failed"
    if measured:
        excesses = [trial.measurement.excesses(outcome.settings) for trial in measured]
        place = min(range(len(measured)), key=lambda place: sum(max(0.0, each) for each in excesses[place].values()))
        name, beyond = max(excesses[place].items(), key=lambda item: item[1], default=("nothing", 0.0))
        nearest = f"trial {measured[place].number} is nearest and misses {name} by {100 * beyond:.0f} % of it"
    raise UsageError(
        "EK025",
        f"none of {len(outcome.trials)} candidates keeps the limits: {nearest}",
        where=str(outcome.output),
        hint="widen [space] or [constraints], or ask for more --trials; what was tried is kept",
    )


def _search(
    settings: SweepSettings, ground: Ground, study: Study, workers: Workers, on_trial: Callable[[Trial], None]
) -> None:
    numbers: list[int] = []

    def jobs() -> Iterator[Job]:
        while study.tried < settings.sweep.trials:
            proposal = study.propose()
            if proposal is None:
                return
            number, candidate = proposal
            numbers.append(number)
            yield Job(candidate, _seen(study.trials, settings, len(ground.parts)))

    # None waits: what is proposed later is proposed knowing more.
    for index, measurement in workers.run(run_trial, ground, jobs(), waiting=0):
        on_trial(study.tell(numbers[index], measurement))


def _seen(trials: Sequence[Trial], settings: SweepSettings, count: int) -> tuple[tuple[Standing, ...], ...]:
    """Return how those stood that saw each share; of many, the last."""
    saw = ([trial for trial in trials if len(trial.measurement.images) > share] for share in range(count))
    return tuple(
        tuple(standing(trial.measurement, settings, share) for trial in each[-_COMPARED:])
        for share, each in enumerate(saw)
    )


def _front(trials: Sequence[Trial], settings: SweepSettings, count: int) -> tuple[Trial, ...]:
    # Only those that saw all images were measured on the same.
    measured = [trial for trial in trials if trial.state == "measured"]
    places = front([standing(trial.measurement, settings, count - 1) for trial in measured])
    chosen = [measured[place] for place in places]
    return tuple(sorted(chosen, key=lambda trial: trial.measurement.losses(settings)))


def _area(best: Sequence[Trial], baseline: Measurement, settings: SweepSettings) -> float | None:
    if len(settings.sweep.objectives) == 1:
        return None
    gain, cost = settings.sweep.objectives
    whole = baseline.value(cost)
    return area_under([(trial.measurement.value(gain) / 100, trial.measurement.value(cost) / whole) for trial in best])


def _ground(settings: SweepSettings, folder: Path) -> tuple[Ground, tuple[int, ...]]:
    """Open what all trials share, and refuse what can be refused before any of them."""
    first, *others = settings.space.model
    source = open_source(None if first == SHIPPED else first, NO_OVERRIDES, None)
    hashes = {first: source.sha256}
    for model in others:
        loaded = load(None if model == SHIPPED else model)
        require_same("classes", source.num_classes, loaded.spec.num_classes, f"{first} and {model}")
        hashes[model] = loaded.sha256
    given = settings.images
    images = choose_images(
        source,
        calibrates="static" in settings.space.precision,
        calibration=None if given.calibration is None else Path(given.calibration),
        calibration_samples=given.calibration_samples,
        evaluation=None if given.evaluation is None else Path(given.evaluation),
        evaluation_samples=given.evaluation_samples,
    )
    if images.evaluation is None:
        raise DataError(
            "EK208", "there are no images to compare candidates on", where="images.evaluation",
            hint="give labelled images of the model's classes in the sweep file",
        )  # fmt: skip
    if "accuracy" in settings.quantities:
        require_labels(images.evaluation)
    evaluation = _shuffled(images.evaluation, settings.sweep.seed)
    sizes = shares(len(evaluation), settings.halving.smallest, settings.halving.factor)
    starts = (0, *sizes[:-1])
    parts = tuple(evaluation.select(range(start, end)) for start, end in zip(starts, sizes, strict=True))
    pruning = None if given.pruning is None else open_images(given.pruning).spread(given.pruning_samples)
    content = [None if each is None else each.sha256() for each in (evaluation, images.calibration, pruning)]
    return Ground(settings, folder.absolute(), hashes, key(images=content), parts), sizes


def _shuffled(images: ImageSet, seed: int) -> ImageSet:
    """Return a set in an order of chance, so that each share is a sample of the whole."""
    order = list(range(len(images)))
    random.Random(seed).shuffle(order)
    return images.select(order)


def _made_from(ground: Ground) -> str:
    """Return a hash of what results depend on; the number of trials is no such thing."""
    settings = ground.settings.model_dump(mode="json")
    settings["sweep"].pop("trials")
    return key(settings=settings, models=ground.hashes, images=ground.images)


@contextlib.contextmanager
def _claimed(path: Path) -> Iterator[None]:
    with refusing_write_errors(path):
        file = path.open("a")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                "EK026", "another sweep is going on in the folder", where=str(path.parent),
                hint="wait for it, or take another --output",
            ) from error  # fmt: skip
        yield


def command_of(candidate: Candidate, settings: SweepSettings, checkpoint: str | None) -> list[str]:
    """Return the command line that exports a candidate as the sweep did, on all the images there are."""
    words = ["edgekit", "export", *([] if checkpoint is None else [checkpoint]), "--quantize", candidate.precision]
    if candidate.precision == "static":
        words += ["--calibration-method", str(candidate.calibration_method), "--effort", str(candidate.effort)]
        words += ["--calibration-samples", str(settings.images.calibration_samples)]
        words += ["--calibration", settings.images.calibration] if settings.images.calibration else []
    words += ["--eval", settings.images.evaluation] if settings.images.evaluation else []
    return [*words, "--target", settings.sweep.target]
