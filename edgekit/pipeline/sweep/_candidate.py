"""One candidate of a sweep, and what it came to."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from edgekit.pipeline.sweep._settings import GAINS, Objective, Precision, SpaceTable, SweepSettings
from edgekit.spec import CalibrationMethod, Effort


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A way to a smaller, faster model.

    Attributes:
        model: Checkpoint to start from.
        macs: Multiply-adds after pruning over before; 1.0 leaves it whole.
        precision: As `edgekit export --quantize`.
        calibration_method: For `static`; None otherwise.
        effort: For `static`; None otherwise.
    """

    model: str
    macs: float = 1.0
    precision: Precision = "none"
    calibration_method: CalibrationMethod | None = None
    effort: Effort | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return its choices by name, without those that it does not have."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


def candidates(space: SpaceTable) -> Iterator[Candidate]:
    """Yield every candidate of a space once."""
    for model, macs, precision in itertools.product(_each(space.model), _each(space.macs), _each(space.precision)):
        if precision != "static":
            yield Candidate(model, macs, precision)
            continue
        for method, effort in itertools.product(_each(space.calibration_method), _each(space.effort)):
            yield Candidate(model, macs, precision, method, effort)


def _each(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What a candidate came to.

    Attributes:
        accuracy: Top-1 in percent, by share of the images it was evaluated on; None without labels.
        agreement: Percent of the images with the answer of the baseline, by share.
        images: Images of each of these shares.
        time: Time per frame over that of the baseline; None where nothing asks for it.
        frame_ms: Its time per frame in milliseconds, beside that of the baseline; None where nothing asks for it.
        bytes: Size of the ONNX file.
        macs: Multiply-adds of one image.
        parameters: Parameters of the model.
        folder: Folder of its files, below that of the pieces that trials share.
        failure: Why there is no such model; None where there is. Nothing else is known then.
    """

    accuracy: tuple[float | None, ...] = ()
    agreement: tuple[float, ...] = ()
    images: tuple[int, ...] = ()
    time: float | None = None
    frame_ms: tuple[float, float] | None = None
    bytes: int = 0
    macs: int = 0
    parameters: int = 0
    folder: str = ""
    failure: str | None = None

    def value(self, quantity: Objective, share: int = -1) -> float:
        """Return one quantity; those that depend on images on the given share of them, by default its largest."""
        if quantity in GAINS:
            value = (self.accuracy if quantity == "accuracy" else self.agreement)[share]
        else:
            value = {"time": self.time, "bytes": self.bytes, "macs": self.macs}[quantity]
        assert value is not None  # The sweep refuses to begin where it could not be measured.
        return float(value)

    def losses(self, settings: SweepSettings, share: int = -1) -> tuple[float, ...]:
        """Return each objective as something to make small."""
        values = ((objective, self.value(objective, share)) for objective in settings.sweep.objectives)
        return tuple(-value if objective in GAINS else value for objective, value in values)

    def excesses(self, settings: SweepSettings, share: int = -1) -> dict[str, float]:
        """Return by how much of it each limit is broken; zero and less where it is kept."""
        return {
            name: excess(name, self.value(quantity, share), limit)
            for name, (quantity, limit) in settings.constraints.limits().items()
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Measurement:
        """Return what `dataclasses.asdict` made JSON of."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
        }
        return cls(**fields)


def excess(name: str, value: float, limit: float) -> float:
    """Return by which share of a limit it is broken; `min_…` from below, `max_…` from above."""
    beyond = limit - value if name.startswith("min_") else value - limit
    return beyond / max(abs(limit), 1e-9)
