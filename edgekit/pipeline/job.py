"""What one export is asked to do, and the files it writes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.models import NO_OVERRIDES, Overrides
from edgekit.quantize import Awareness
from edgekit.spec import CalibrationMethod, Effort, LayerDecision, Note, Quantization, Rung

if TYPE_CHECKING:
    import onnx

FP32_FILE, INT8_FILE = "model.fp32.onnx", "model.int8.onnx"
REPORT_FILE, PREPROCESSING_FILE = "report.json", "preprocessing.json"
CALIBRATION_FILE, TENSORRT_CACHE_FILE = "calibration.safetensors", "calibration.tensorrt.txt"
OUTPUTS = (FP32_FILE, INT8_FILE, PREPROCESSING_FILE, REPORT_FILE, CALIBRATION_FILE, TENSORRT_CACHE_FILE)


# So many batches of 32 bring what more of them hardly change (docs/pruning.md).
DEFAULT_AWARENESS = Awareness(steps=300)


@dataclasses.dataclass(frozen=True)
class ExportRequest:
    """What to export, how, and where to put it.

    Attributes:
        model: Checkpoint, `.onnx` file, architecture name (random weights), or None for the model that ships.
        output: Folder for the files.
        quantize: `none`, `dynamic`, `static` or `qat`.
        overrides: What the user says about the model.
        target: Target that the model will run on: the name or path of a card, or a Q/DQ flavour.
        jetpack: Version of JetPack it has; None takes the newest of the card.
        opset: Opset to write; None takes 17, or an `.onnx` file's own.
        calibration: Images that set the ranges; labels are not needed.
        calibration_samples: How many of them, evenly spread.
        calibration_method: How a range is chosen from what was seen.
        effort: `fast` rounds after one look at the images; `balanced` and `best` climb the accuracy ladder.
        max_drop: Stop climbing when at most this percentage of the images changes its best class.
        mixed: Layers may stay in float where that is measured to be faster, or nearer and no slower.
        seed: Of what the ladder draws at random.
        training: For `qat`, images to train on, labels are not needed; None takes those of the calibration set.
        awareness: For `qat`, how to train.
        state: For `qat`, file that training goes on from after an interruption; None keeps none.
        weight_bits: Bits of a weight, 2 to 8; below 8 a stress for the rounding, not a smaller file.
        evaluation: Images to measure accuracy and drift on.
        evaluation_samples: How many of them; None takes all.
        dynamic_operators: What dynamic quantization is asked to quantize.
        threads: Threads that a timed frame may use; 0 takes all cores.
        command: The command line, for the report.
    """

    model: str | Path | None
    output: Path
    quantize: Quantization = "static"
    overrides: Overrides = NO_OVERRIDES
    target: str = "cpu"
    jetpack: str | None = None
    opset: int | None = None
    calibration: Path | str | None = None
    calibration_samples: int = 128
    calibration_method: CalibrationMethod = "auto"
    effort: Effort = "balanced"
    max_drop: float | None = None
    mixed: bool = True
    seed: int = 0
    training: Path | str | None = None
    awareness: Awareness = DEFAULT_AWARENESS
    state: Path | None = None
    weight_bits: int = 8
    evaluation: Path | str | None = None
    evaluation_samples: int | None = None
    dynamic_operators: tuple[str, ...] = ("MatMul", "Gemm")
    threads: int = 0
    command: str = ""


@dataclasses.dataclass(frozen=True)
class Quantized:
    """The int8 model and how it came about.

    Attributes:
        model: The int8 model.
        layers: What each layer computes in.
        notes: What was done.
        flavour: What the target wanted of the graph.
        rungs: What each rung of the accuracy ladder gained.
        broken: Identifiers of calibration images that could not be read.
    """

    model: onnx.ModelProto
    layers: tuple[LayerDecision, ...]
    notes: tuple[Note, ...]
    flavour: str = "cpu"
    rungs: tuple[Rung, ...] = ()
    broken: tuple[str, ...] = ()
