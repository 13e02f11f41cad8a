"""What a sweep file may say, and reading it; every fault with its line and key."""

from __future__ import annotations

import difflib
import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgekit.errors import UsageError
from edgekit.files import located, read_at_most
from edgekit.pipeline.toml_lines import line_of
from edgekit.spec import CalibrationMethod, Effort

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Objective = Literal["accuracy", "agreement", "time", "bytes", "macs"]
GAINS: tuple[Objective, ...] = ("accuracy", "agreement")
Precision = Literal["none", "dynamic", "static"]
Sampler = Literal["auto", "tpe", "nsga2", "random"]
Recover = Literal["none", "bn", "repair"]
Widths = Literal["sensitivity", "uniform"]
SHIPPED = "shipped"

Positive = Annotated[int, Field(ge=1)]
Above = Annotated[float, Field(gt=0)]
Percent = Annotated[float, Field(ge=0, le=100)]
Kept = Annotated[float, Field(gt=0, le=1)]

_LARGEST_FILE = 1 << 20
_PLACE = re.compile(r" \(at line (\d+), column \d+\)$| \(at end of document\)$")


class _Table(BaseModel):
    """A table of the file: no key is unknown, no value is of another type."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class SearchTable(_Table):
    """How to search."""

    trials: Positive = 30
    """Candidates to try; each counts once, however often it is proposed."""
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1, max_length=2)] = ("accuracy", "time")
    """One, or one of accuracy and agreement with one of time, bytes and macs."""
    sampler: Sampler = "auto"
    """tpe (for one objective), nsga2 (for two), random; auto takes what fits the number of objectives."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of everything that is drawn at random."""
    target: str = "cpu"
    """What it is for: a name of `edgekit targets`."""
    threads: Annotated[int, Field(ge=0)] = 1
    """Threads of a trial and of a timed frame; 0 takes all cores."""

    @model_validator(mode="after")
    def _one_of_each(self) -> SearchTable:
        gains = [objective in GAINS for objective in self.objectives]
        if len(gains) == 2 and gains != [True, False]:
            raise ValueError("two objectives are accuracy or agreement first, and then time, bytes or macs")
        if self.sampler == "tpe" and len(gains) == 2:
            raise ValueError("tpe is for one objective; take nsga2 or auto")
        if self.sampler == "nsga2" and len(gains) == 1:
            raise ValueError("nsga2 is for two objectives; take tpe or auto")
        return self


class SpaceTable(_Table):
    """What to choose from: every key is a list, and a candidate takes one of each."""

    model: Annotated[tuple[str, ...], Field(min_length=1)] = (SHIPPED,)
    """Checkpoints of the architectures and widths to compare; `shipped` is the model that ships. The first, whole and
    in FP32, is the baseline."""
    macs: Annotated[tuple[Kept, ...], Field(min_length=1)] = (1.0, 0.75, 0.5)
    """Multiply-adds after pruning over before, as `edgekit prune --macs`; 1.0 leaves the model whole."""
    precision: Annotated[tuple[Precision, ...], Field(min_length=1)] = ("none", "static")
    """As `edgekit export --quantize`."""
    calibration_method: Annotated[tuple[CalibrationMethod, ...], Field(min_length=1)] = ("auto",)
    """For `static`: how a range is chosen from what was seen."""
    effort: Annotated[tuple[Effort, ...], Field(min_length=1)] = ("fast",)
    """For `static`: how far the accuracy ladder is climbed."""


class ImagesTable(_Table):
    """Where images come from; without a path, the sample that ships, where its classes fit."""

    calibration: str | None = None
    """Images that set the ranges."""
    calibration_samples: Positive = 128
    """How many of them, evenly spread."""
    pruning: str | None = None
    """Images that judge and repair what is pruned."""
    pruning_samples: Positive = 256
    """How many of them, evenly spread."""
    evaluation: str | None = None
    """Images that candidates are compared on. Those that calibrate are left out."""
    evaluation_samples: Positive | None = None
    """How many of them, evenly spread. Default: all."""


class PruningTable(_Table):
    """How `macs` below 1.0 are reached."""

    widths: Widths = "sensitivity"
    """How many channels of each layer stay: sensitivity (measured) or uniform."""
    recover: Recover = "repair"
    """What is done about it afterwards, without training."""


class HalvingTable(_Table):
    """Successive halving: weak candidates see a few of the images, the others more and more."""

    smallest: Positive = 100
    """Images of the first share; as many as there are, or more, turn halving off."""
    factor: Annotated[int, Field(ge=2)] = 3
    """Each share is so many times the one before, and about one in so many candidates goes on to it."""


class ConstraintsTable(_Table):
    """What a candidate must keep to be on the front."""

    min_accuracy: Percent | None = None
    """Least top-1, in percent."""
    min_agreement: Percent | None = None
    """Least share of the images with the answer of the baseline, in percent."""
    max_time: Above | None = None
    """Largest time per frame over that of the baseline, timed in turns."""
    max_bytes: Positive | None = None
    """Largest ONNX file."""
    max_macs: Positive | None = None
    """Most multiply-adds of one image."""

    def limits(self) -> dict[str, tuple[Objective, float]]:
        """Return which quantity each limit that is given is of, and the limit."""
        given = self.model_dump(exclude_none=True)
        return {name: (_objective(name.partition("_")[2]), float(limit)) for name, limit in given.items()}


class SweepSettings(_Table):
    """A sweep file."""

    sweep: SearchTable = SearchTable()
    space: SpaceTable = SpaceTable()
    images: ImagesTable = ImagesTable()
    pruning: PruningTable = PruningTable()
    halving: HalvingTable = HalvingTable()
    constraints: ConstraintsTable = ConstraintsTable()

    @property
    def quantities(self) -> set[str]:
        """What must be measured: the objectives, and what limits are of."""
        return {*self.sweep.objectives, *(quantity for quantity, _ in self.constraints.limits().values())}


def _objective(name: str) -> Objective:
    return next(objective for objective in get_args(Objective) if objective == name)


def read_settings(path: Path) -> SweepSettings:
    """Read a sweep file; paths in it become relative to its folder.

    Raises:
        UsageError: EK023 for what it may not say, with its line.
    """
    text = _text(path)
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        place = _PLACE.search(str(error))
        line = (place.group(1) or len(text.splitlines())) if place else 1
        raise UsageError(
            "EK023", f"not TOML: {_PLACE.sub('', str(error))}", where=f"{path}:{line}", hint="mend the line"
        ) from error
    try:
        settings = SweepSettings.model_validate_json(json.dumps(content, default=str))
    except ValidationError as error:
        raise _refusal(error, text, path) from error
    return _beside(settings, path.parent)


def _text(path: Path) -> str:
    try:
        content = read_at_most(path, _LARGEST_FILE)
        text = None if content is None else content.decode()
    except (OSError, ValueError) as error:
        raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from error
    if text is None:
        raise _unreadable(path, "it is far larger than such files are")
    return text


def _unreadable(path: Path, why: str) -> UsageError:
    return UsageError("EK023", f"the sweep file cannot be read: {why}", where=str(path), hint="check the path")


def _beside(settings: SweepSettings, folder: Path) -> SweepSettings:
    """Return the settings with paths relative to a folder."""

    def placed(path: str | None) -> str | None:
        return None if path is None else str(located(folder, path))

    # Architecture names stand for random weights, which no sweep can tell apart.
    models = tuple(model if model == SHIPPED else str(folder / model) for model in settings.space.model)
    images = settings.images
    return settings.model_copy(
        update={
            "space": settings.space.model_copy(update={"model": models}),
            "images": images.model_copy(
                update={name: placed(getattr(images, name)) for name in ("calibration", "pruning", "evaluation")}
            ),
        }
    )


def _refusal(error: ValidationError, text: str, path: Path) -> UsageError:
    """Say the first fault in one line: where, which key, what is wrong with it."""
    first = error.errors(include_url=False, include_context=False)[0]
    key = [part for part in first["loc"] if isinstance(part, str)]
    # The nearest that the text has: a fault of a whole table has no key.
    line = next((line for count in range(len(key), 0, -1) if (line := line_of(text, key[:count]))), None)
    where = str(path) if line is None else f"{path}:{line}"
    name = ".".join(key)
    if first["type"] == "extra_forbidden":
        known = list(SweepSettings.model_fields)
        if len(key) > 1:
            table = SweepSettings.model_fields[key[0]].annotation
            assert isinstance(table, type)
            assert issubclass(table, BaseModel)
            known = list(table.model_fields)
        near = difflib.get_close_matches(key[-1], known, 1)
        hint = f"did you mean {near[0]}" if near else f"take one of {', '.join(known)}"
        return UsageError("EK023", f"{name}: there is no such key", where=where, hint=hint)
    return UsageError(
        "EK023",
        f"{name}: {first['msg'].removeprefix('Value error, ')}",
        where=where,
        hint="docs/sweep.md lists the keys",
    )


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a sweep file, as in `docs/sweep.schema.json`."""
    schema = SweepSettings.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
