"""The committed baseline: what a model answered on each image, so that another is compared without it being there."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import json
import zlib
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgekit.errors import ComparisonError
from edgekit.files import first_fault
from edgekit.validate.gate._evidence import Evidence

BASELINE_SCHEMA: Final = "edgekit.baseline/1"
_FAMILY: Final = "edgekit.baseline/"
_HINT_AGAIN: Final = "make it again with edgekit gate --update MODEL"

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Ratio = Annotated[float, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class BaselineModel(_Section):
    """The model that was recorded."""

    name: str
    sha256: Sha256
    size_bytes: int = Field(ge=1)
    num_classes: int = Field(ge=1)
    preprocessing: str = Field(description="How images become its input, as JSON.")


class BaselineImages(_Section):
    """The images that it was recorded on."""

    name: str
    sha256: Sha256 = Field(description="Over names and contents, in order.")
    labels_sha256: Sha256 | None
    count: int = Field(ge=1, description="Images that could be read.")


class BaselineSpeed(_Section):
    """How fast it was beside another model, timed in turns. It judges no limit: a ratio holds on its CPU alone."""

    reference: str
    reference_sha256: Sha256
    speedup: tuple[Ratio, Ratio, Ratio] = Field(description="Ratio of the medians, and its 95 % interval.")
    p99_ratio: tuple[Ratio, Ratio, Ratio] | None
    cpu: str
    threads: int = Field(ge=1)
    runtime: str


class Baseline(_Section):
    """What `edgekit-baseline.json` holds."""

    schema_version: Literal["edgekit.baseline/1"] = Field(alias="schema")
    edgekit: str
    model: BaselineModel
    images: BaselineImages
    top1: float | None = Field(ge=0, le=100)
    logits_sha256: Sha256 = Field(description="Over the float32 logits of all images, in order.")
    answers: str = Field(description="Class that it answers on each image: uint32 little-endian, zlib, base64.")
    correct: str | None = Field(description="Whether that is the label: a bit an image, the first highest, base64.")
    speed: BaselineSpeed | None

    @model_validator(mode="after")
    def _whole(self) -> Baseline:
        """Refuse what was cut short or edited: each number is there twice."""
        answers, correct = self.unpacked_answers(), self.unpacked_correct()
        if answers.max(initial=0) >= self.model.num_classes:
            raise ValueError("an answer is not among the classes of the model")
        if (correct is None) != (self.top1 is None) or (correct is None) != (self.images.labels_sha256 is None):
            raise ValueError("top1, correct and labels_sha256 belong together")
        if correct is not None and abs(100 * correct.mean() - (self.top1 or 0.0)) > 1e-9:
            raise ValueError("top1 is not that of the images in correct")
        return self

    def unpacked_answers(self) -> NDArray[np.uint32]:
        """Class that the model answers on each image, (count,); raises ValueError when the text is damaged."""
        expected = 4 * self.images.count
        try:
            content = zlib.decompressobj().decompress(_decoded(self.answers), expected + 1)
        except zlib.error as error:
            raise ValueError("answers are damaged") from error
        if len(content) != expected:
            raise ValueError(f"answers are not those of {self.images.count} images")
        return np.frombuffer(content, dtype="<u4").astype(np.uint32)

    def unpacked_correct(self) -> NDArray[np.bool_] | None:
        """Whether it is right on each image, (count,); raises ValueError when the text is damaged."""
        if self.correct is None:
            return None
        content = np.frombuffer(_decoded(self.correct), dtype=np.uint8)
        if len(content) != -(-self.images.count // 8):
            raise ValueError(f"correct is not that of {self.images.count} images")
        return np.unpackbits(content, count=self.images.count).astype(np.bool_)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("it is not base64") from error


def pack_answers(answers: NDArray[Any]) -> str:
    """Return the text that `Baseline.answers` holds."""
    return base64.b64encode(zlib.compress(answers.astype("<u4").tobytes(), 9)).decode()


def pack_correct(correct: NDArray[np.bool_]) -> str:
    """Return the text that `Baseline.correct` holds."""
    return base64.b64encode(np.packbits(correct).tobytes()).decode()


def labels_sha256(labels: tuple[int, ...] | None) -> str | None:
    """Return a hash over the classes of all images in order; None without labels."""
    return None if labels is None else hashlib.sha256(np.array(labels, dtype="<i8").tobytes()).hexdigest()


def parse_baseline(content: Any, *, where: str) -> Baseline:
    """Read what a JSON file holds that anybody may have edited.

    Raises:
        ComparisonError: EK632 when a newer edgekit wrote it, EK631 when it is something else or damaged.
    """
    schema = content.get("schema") if isinstance(content, dict) else None
    if isinstance(schema, str) and schema.startswith(_FAMILY) and schema != BASELINE_SCHEMA:
        raise ComparisonError(
            "EK632",
            f"it is of version {schema}, and this edgekit reads {BASELINE_SCHEMA}",
            where=where,
            hint=f"take the edgekit that wrote it, or {_HINT_AGAIN}",
        )
    try:
        # Strict validation takes a list for a tuple from JSON text alone.
        return Baseline.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise damaged(first_fault(error), where) from error


def damaged(what: str, where: str) -> ComparisonError:
    """Return the error of a baseline that cannot be read."""
    return ComparisonError("EK631", f"the baseline is damaged ({what})", where=where, hint=_HINT_AGAIN)


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What a model answers on images.

    Attributes:
        sha256: Of the file.
        size_bytes: Size of the model.
        logits_sha256: Over the float32 logits of all images, in order.
        classes: (N,) class that it answers on each image.
        correct: (N,) whether that is the label; None without labels.
    """

    sha256: str
    size_bytes: int
    logits_sha256: str
    classes: NDArray[Any]
    correct: NDArray[np.bool_] | None


def evidence_against(baseline: Baseline, candidate: Answers) -> Evidence:
    """Return what a gate judges a candidate by, beside a baseline that answered the same images.

    The same file is not taken for the same model where it answers otherwise here than where it was recorded: int8
    depends on the CPU.
    """
    before, after = baseline.unpacked_correct(), candidate.correct
    paired = None if before is None or after is None else (before, after)
    agreeing = int(np.sum(baseline.unpacked_answers() == candidate.classes))
    same_file = baseline.model.sha256 == candidate.sha256 and agreeing == baseline.images.count
    return Evidence(
        identical=same_file or baseline.logits_sha256 == candidate.logits_sha256,
        images=baseline.images.count,
        gained=None if paired is None else int(np.sum(paired[1] & ~paired[0])),
        lost=None if paired is None else int(np.sum(paired[0] & ~paired[1])),
        agreeing=agreeing,
        baseline_bytes=baseline.model.size_bytes,
        candidate_bytes=candidate.size_bytes,
    )


def require_same_images(baseline: Baseline, *, name: str, sha256: str, labels: str | None, count: int) -> None:
    """Raise ComparisonError EK633 when the images are not those that the baseline answered.

    Args:
        baseline: What was recorded.
        name: Of the images at hand.
        sha256: Over their names and contents.
        labels: Hash over their labels; None without labels.
        count: How many could be read.
    """
    recorded = baseline.images
    if recorded.sha256 != sha256:
        what = "these are other images than the baseline was recorded on"
    elif recorded.labels_sha256 != labels:
        what = "the labels are others than when the baseline was recorded"
    elif recorded.count != count:
        what = f"{count} of the images can be read, and {recorded.count} could when the baseline was recorded"
    else:
        return
    raise ComparisonError(
        "EK633",
        f"{what} ({recorded.name}, {recorded.count:,} images)",
        where=name,
        hint=f"give the same images with --eval and --eval-samples, or {_HINT_AGAIN}",
    )


def require_same_classes(baseline: Baseline, num_classes: int, *, where: str) -> None:
    """Raise ComparisonError EK634 when a candidate has another number of classes than the baseline."""
    if baseline.model.num_classes != num_classes:
        raise ComparisonError(
            "EK634",
            f"the candidate has {num_classes} classes and the baseline {baseline.model.num_classes}",
            where=where,
            hint=f"give a model of the same classes, or {_HINT_AGAIN}",
        )
