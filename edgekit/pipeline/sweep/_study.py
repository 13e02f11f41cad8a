"""What Optuna is asked for and told: which candidate to try next, in a storage that outlives the process."""

from __future__ import annotations

import dataclasses
import random
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from edgekit.errors import UsageError
from edgekit.pipeline.sweep._candidate import Candidate, Measurement, candidates
from edgekit.pipeline.sweep._settings import SpaceTable, SweepSettings

if TYPE_CHECKING:
    import optuna

STUDY: Final = "sweep"
# So often in a row may the sampler propose what was tried; then one that was not is drawn.
_REPEATS: Final = 10
_MADE_FROM, _CANDIDATE, _MEASUREMENT, _REPEAT = "made_from", "candidate", "measurement", "repeat"

State = Literal["measured", "stopped", "failed"]


@dataclasses.dataclass(frozen=True)
class Trial:
    """A candidate that was tried.

    Attributes:
        number: Its number in the study.
        candidate: The candidate.
        measurement: What it came to.
        state: `measured` on all images, `stopped` after a share of them, or `failed`.
    """

    number: int
    candidate: Candidate
    measurement: Measurement
    state: State


class Study:
    """The candidates of a sweep, tried and to be tried.

    Args:
        storage: Address of the storage, as Optuna takes it.
        settings: What the sweep file says.
        shares: Images of each share.
        made_from: Hash of what results depend on; a storage of another one is refused.

    Raises:
        UsageError: EK004 when Optuna is not installed, EK003 when the storage cannot be used, EK024 when it holds the
            study of other settings.
    """

    def __init__(self, storage: str, settings: SweepSettings, shares: int, made_from: str) -> None:
        self._optuna = _imported()
        self._settings = settings
        self._shares = shares
        self._space = tuple(candidates(settings.space))
        self._study = self._open(storage, made_from)
        self._proposed: dict[int, tuple[optuna.Trial, Candidate]] = {}
        self.trials: list[Trial] = []
        # What each candidate that was proposed came to; None while nobody knows.
        self._known: dict[Candidate, Measurement | None] = {}
        self._asked = 0
        self._resume()

    @property
    def tried(self) -> int:
        """Candidates that were tried or are being tried."""
        return len(self.trials) + len(self._proposed)

    def propose(self) -> tuple[int, Candidate] | None:
        """Return a candidate that was not tried yet, and its number; None when all of the space were."""
        if self.tried == len(self._space):
            return None
        for _ in range(_REPEATS):
            trial = self._ask()
            candidate = _suggest(trial, self._settings.space)
            if candidate not in self._known:
                break
            self._tell_again(trial, candidate)
        else:
            untried = [candidate for candidate in self._space if candidate not in self._known]
            chosen = random.Random(self._seed()).choice(untried)
            self._study.enqueue_trial(_parameters(chosen, self._settings.space))
            trial = self._ask()
            candidate = _suggest(trial, self._settings.space)
        trial.set_user_attr(_CANDIDATE, candidate.as_dict())
        self._proposed[trial.number] = (trial, candidate)
        self._known[candidate] = None
        return trial.number, candidate

    def tell(self, number: int, measurement: Measurement) -> Trial:
        """Take what a proposed candidate came to."""
        trial, candidate = self._proposed.pop(number)
        self._tell(trial, measurement, told_before=False)
        told = self._trial(number, candidate, measurement)
        self.trials.append(told)
        self._known[candidate] = measurement
        return told

    def _open(self, storage: str, made_from: str) -> optuna.Study:
        import optuna

        try:
            study = optuna.create_study(
                storage=storage, study_name=STUDY, load_if_exists=True,
                directions=["minimize"] * len(self._settings.sweep.objectives),
            )  # fmt: skip
        # Optuna's own errors and those of the database below it share no base class but this.
        except Exception as error:
            raise UsageError(
                "EK003",
                f"the storage of the sweep cannot be used: {str(error).partition(chr(10))[0]}",
                where=storage,
                hint="give another with --storage, or remove it to begin anew",
            ) from error
        found = study.user_attrs.get(_MADE_FROM)
        if found is None:
            study.set_user_attr(_MADE_FROM, made_from)
        elif found != made_from:
            raise UsageError(
                "EK024",
                "the study was made with other settings, models or images",
                where=storage,
                hint="undo the change, or take another --output; more trials alone may be asked for",
            )
        return study

    def _resume(self) -> None:
        states = self._optuna.trial.TrialState
        for trial in self._study.get_trials(deepcopy=False):
            attributes = trial.user_attrs
            if _MEASUREMENT in attributes:
                measurement = Measurement.from_dict(attributes[_MEASUREMENT])
                candidate = Candidate(**attributes[_CANDIDATE])
                self.trials.append(self._trial(trial.number, candidate, measurement))
                self._known[candidate] = measurement
                self._asked += 1
            elif _REPEAT in attributes:
                self._asked += 1
            if trial.state == states.RUNNING:
                # Whoever ran it is gone: only one sweep at a time has the folder.
                self._finish(trial)

    def _finish(self, trial: optuna.trial.FrozenTrial) -> None:
        """Tell what an interrupted run did not."""
        states = self._optuna.trial.TrialState
        if _MEASUREMENT in trial.user_attrs:
            measurement = Measurement.from_dict(trial.user_attrs[_MEASUREMENT])
            if measurement.failure is None:
                self._study.tell(trial.number, measurement.losses(self._settings))
                return
        # With the seed that it had, the same question is asked again, and has the same answer.
        self._study.tell(trial.number, state=states.FAIL)

    def _trial(self, number: int, candidate: Candidate, measurement: Measurement) -> Trial:
        state: State = "measured" if len(measurement.images) == self._shares else "stopped"
        return Trial(number, candidate, measurement, "failed" if measurement.failure is not None else state)

    def _tell_again(self, trial: optuna.Trial, candidate: Candidate) -> None:
        """Tell at once what a candidate came to that was tried before; nothing where that is not known yet."""
        trial.set_user_attr(_REPEAT, True)
        self._tell(trial, self._known[candidate], told_before=True)

    def _tell(self, trial: optuna.Trial, measurement: Measurement | None, *, told_before: bool) -> None:
        usable = measurement is not None and measurement.failure is None
        excesses = measurement.excesses(self._settings) if measurement is not None and usable else {}
        for name, excess in excesses.items():
            trial.set_constraint(name, excess)
        # After the constraints, before the values: what has a measurement can be told whenever the run ended.
        if measurement is not None and not told_before:
            trial.set_user_attr(_MEASUREMENT, dataclasses.asdict(measurement))
        if measurement is not None and usable:
            self._study.tell(trial, measurement.losses(self._settings))
        else:
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)

    def _ask(self) -> optuna.Trial:
        # A sampler for each question, whose seed follows from how many there were: interrupted and resumed, a sweep
        # proposes what it would have proposed.
        self._study.sampler = self._sampler()
        self._asked += 1
        return self._study.ask()

    def _seed(self) -> int:
        return zlib.crc32(f"{self._settings.sweep.seed} {self._asked}".encode())

    def _sampler(self) -> optuna.samplers.BaseSampler:
        from optuna import samplers

        search = self._settings.sweep
        kind = search.sampler
        if kind == "auto":
            kind = "tpe" if len(search.objectives) == 1 else "nsga2"
        if kind == "random":
            return samplers.RandomSampler(self._seed())
        if kind == "tpe":
            return samplers.TPESampler(n_startup_trials=min(10, max(3, search.trials // 4)), seed=self._seed())
        # A few generations at least: Optuna's 50 to a generation would make a small sweep one of chance alone.
        population = min(50, max(4, search.trials // 5))
        return samplers.NSGAIISampler(population_size=population, seed=self._seed())


def _imported() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UsageError("EK004", "Optuna is not installed", hint="pip install 'edgekit[sweep]'") from error
    # It would report each trial on standard error.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def storage_in(folder: Path) -> str:
    """Return the address of the storage that a sweep takes by itself: an SQLite file in its folder."""
    return f"sqlite:///{folder.absolute() / 'study.db'}"


def _suggest(trial: optuna.Trial, space: SpaceTable) -> Candidate:
    """Ask for one of each; what `static` alone has is not asked for where the precision is another."""
    ratios = sorted(set(space.macs))
    chosen: dict[str, Any] = {
        "model": trial.suggest_categorical("model", space.model),
        "macs": ratios[trial.suggest_int("macs", 0, len(ratios) - 1)],
        "precision": trial.suggest_categorical("precision", space.precision),
    }
    if chosen["precision"] == "static":
        chosen["calibration_method"] = trial.suggest_categorical("calibration_method", space.calibration_method)
        chosen["effort"] = trial.suggest_categorical("effort", space.effort)
    return Candidate(**chosen)


def _parameters(candidate: Candidate, space: SpaceTable) -> dict[str, Any]:
    """Return what `_suggest` makes a candidate of."""
    return {**candidate.as_dict(), "macs": sorted(set(space.macs)).index(candidate.macs)}
