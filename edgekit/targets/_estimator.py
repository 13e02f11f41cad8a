"""The file that an estimate leans on: coefficients, and the times of others that they were fitted to."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekit.errors import TargetError
from edgekit.files import read_toml
from edgekit.shipped import shipped
from edgekit.targets._card import FOLDER, Confidence
from edgekit.targets._estimate import Coefficients
from edgekit.targets._plan import EnginePrecision

FILE = "tensorrt/estimator.toml"
# With fewer times nothing is said of the error.
FEWEST_ANCHORS = 3
Share = Annotated[float, Field(gt=0, le=1)]
Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Anchor(_Strict):
    """A time that was measured, and what the estimate says of it.

    Attributes:
        target: Name of the card.
        model: What ran: `mobilenet_v1 0.5/160` is width 0.5 at 160x160 pixels, else a name.
        precision: What it ran in.
        measured_ms: The time.
        estimated_ms: The estimate of the coefficients that were fitted to all anchors of the family.
        left_out_ms: That of coefficients fitted to the others alone.
        source: Where the time comes from.
        confidence: How sure it is.
    """

    target: str
    model: str
    precision: EnginePrecision
    measured_ms: Milliseconds
    estimated_ms: Milliseconds
    left_out_ms: Milliseconds
    source: str
    confidence: Confidence

    @property
    def missed_by(self) -> float:
        """Estimate over measurement, of coefficients that do not know the anchor."""
        return self.left_out_ms / self.measured_ms


class Family(_Strict):
    """Devices that share coefficients.

    Attributes:
        tensor_cores: Whether they have tensor cores.
        bandwidth_share: Of the memory bandwidth that is reached.
        compute_share: Of the arithmetic rate that is reached.
        launch_us: Time that a layer costs whatever it does, in microseconds.
        anchors: What they were fitted to.
    """

    tensor_cores: bool
    bandwidth_share: Share
    compute_share: Share
    launch_us: Milliseconds
    anchors: tuple[Anchor, ...]

    @property
    def coefficients(self) -> Coefficients:
        """What is reached of a device's peaks."""
        return Coefficients(self.bandwidth_share, self.compute_share, self.launch_us)

    @property
    def factor(self) -> float:
        """By what the anchors were missed while they were left out: the root mean square, as a factor above 1.

        Infinite with too few of them to say.
        """
        if len(self.anchors) < FEWEST_ANCHORS:
            return math.inf
        squares = [math.log(anchor.missed_by) ** 2 for anchor in self.anchors]
        return math.exp(math.sqrt(sum(squares) / len(squares)))


class Estimator(_Strict):
    """Coefficients for each family of devices.

    Attributes:
        start: What a fit starts from, where nothing is measured.
        families: One with and one without tensor cores.
    """

    start: tuple[Share, Share, Milliseconds]
    families: tuple[Family, ...]

    def family(self, tensor_cores: bool) -> Family:
        """Return the family of devices with or without tensor cores; one without anchors where the file has none."""
        for family in self.families:
            if family.tensor_cores == tensor_cores:
                return family
        bandwidth, compute, launch = self.start
        return Family(
            tensor_cores=tensor_cores, bandwidth_share=bandwidth, compute_share=compute, launch_us=launch,
            anchors=(),
        )  # fmt: skip


def load_estimator(path: Path | None = None) -> Estimator:
    """Read an estimator, by default the one that ships.

    Raises:
        TargetError: EK732 when it is missing or wrong, with the field.
    """
    place = path or shipped(FOLDER) / FILE
    try:
        return Estimator.model_validate(read_toml(place))
    except ValidationError as error:
        first = error.errors()[0]
        raise _wrong(place, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except OSError as error:
        raise _wrong(place, f"the file cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise _wrong(place, f"not a TOML file: {error}") from error


def _wrong(path: Path, what: str) -> TargetError:
    return TargetError(
        "EK732", what, where=str(path), hint="give a file that edgekit profile --fit wrote, or leave --estimator out"
    )


def estimator_text(estimator: Estimator, heading: str) -> str:
    """Return an estimator as the text of its file, below lines of comment."""
    return "".join(f"{line}\n" for line in _lines(estimator, heading))


def _lines(estimator: Estimator, heading: str) -> Iterator[str]:
    yield from (f"# {line}" for line in heading.splitlines())
    yield f"start = {list(estimator.start)}"
    for family in estimator.families:
        yield ""
        yield "[[families]]"
        yield f"tensor_cores = {json.dumps(family.tensor_cores)}"
        for name, value in dataclasses.asdict(family.coefficients).items():
            yield f"{name} = {value:.4g}"
        if not family.anchors:
            yield "anchors = []"
        for anchor in family.anchors:
            yield ""
            yield "[[families.anchors]]"
            for name, value in anchor.model_dump().items():
                yield f"{name} = {json.dumps(value, ensure_ascii=False)}"
