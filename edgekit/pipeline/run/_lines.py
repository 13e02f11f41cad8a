"""What a run came to: one line a stage."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class StageLine:
    """What a stage left of the model, beside the FP32 model before pruning and quantization.

    Attributes:
        stage: Name of the stage; `baseline` for that model itself.
        macs: Multiply-adds of one image; None for an `.onnx` file.
        parameters: Parameters; None for an `.onnx` file.
        size_bytes: Size as ONNX, in bytes.
        top1: Percent of the images that it gets right; None without labels.
        images: Images that were evaluated.
        agreement: Percent of them with the same answer as the baseline; None for the baseline, or without images.
        frame_ms: Median time per frame in onnxruntime on this machine, in milliseconds.
        speedup: Median of the baseline, timed in turns with it, over that; None for the baseline.
    """

    stage: str
    macs: int | None
    parameters: int | None
    size_bytes: int
    top1: float | None
    images: int
    agreement: float | None
    frame_ms: float
    speedup: float | None


@dataclasses.dataclass(frozen=True)
class StageOutcome:
    """What happened to one stage.

    Attributes:
        stage: Its name.
        key: Hash of everything that its result follows from.
        made: It was made now; otherwise it was there already.
        seconds: Time that making it took, now or then.
        folder: Folder of its files.
        files: Hash of each file.
        same: Those of them whose bytes are the same when they are made again.
        inputs: Hash of each input by name.
        facts: What else there is to say about it.
        notes: What was assumed and done.
    """

    stage: str
    key: str
    made: bool
    seconds: float
    folder: Path
    files: dict[str, str]
    same: tuple[str, ...]
    inputs: dict[str, str]
    facts: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the check of the stage, where it is one, passed."""
        return bool(self.facts.get("passed", True))


@dataclasses.dataclass(frozen=True)
class RunOutcome:
    """What a run came to.

    Attributes:
        stages: Its stages in order.
        lines: What each left of the model.
        output: Folder of the results.
        lock: The lock file; None where none was asked for.
        code: Hash of edgekit's own sources.
        notes: What a reader must know of the run itself.
    """

    stages: tuple[StageOutcome, ...]
    lines: tuple[StageLine, ...]
    output: Path
    lock: Path | None
    code: str
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(stage.passed for stage in self.stages)
