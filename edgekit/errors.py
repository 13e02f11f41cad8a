"""The one family of errors that a person can cause, and the table of their stable codes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

CODES: Mapping[str, str] = MappingProxyType(
    {
        # EK0xx: the command line and the machine
        "EK001": "an option has a value that cannot be used",
        "EK002": "the target is not known",
        "EK003": "an output cannot be written",
        "EK004": "a package is missing or too old",
        "EK006": "the machine has too little memory",
        # EK010 to EK019: pipelines, their cache and their lock file
        "EK010": "the pipeline file is wrong",
        "EK011": "a file that the pipeline needs does not exist",
        "EK012": "another run is going on in the folder",
        "EK013": "the file was written by a newer version of edgekit",
        "EK014": "a cache entry is damaged",
        "EK015": "the lock file or the record of a run is damaged",
        "EK016": "the two cannot be compared layer by layer",
        # EK020 to EK029: sweeps and clusters
        "EK020": "no Ray cluster can be reached",
        "EK021": "the Ray cluster lost the work",
        "EK022": "a worker has other versions than this machine",
        "EK023": "the sweep file is wrong",
        "EK024": "the study was made with other settings",
        "EK025": "no candidate keeps the limits",
        "EK026": "another sweep is going on in the folder",
        # EK1xx: models and checkpoints
        "EK101": "the model file does not exist",
        "EK102": "the file is not a model in a known format",
        "EK103": "the checkpoint is a pickle that wants to run code",
        "EK104": "the model file is damaged",
        "EK105": "the architecture of the checkpoint is not known",
        "EK106": "the checkpoint does not fit the architecture",
        "EK107": "the metadata of the model file is wrong",
        "EK108": "the ONNX model is not an image classifier that edgekit can use",
        "EK109": "the ONNX model refers to data outside its own folder",
        "EK110": "the weights hold NaN or infinity",
        # EK2xx: images
        "EK201": "the data set does not exist or is of no known kind",
        "EK202": "the data set has no images",
        "EK203": "more than one percent of the images are broken",
        "EK204": "labels are needed and the data set has none",
        "EK205": "the archive is unsafe to read",
        "EK206": "the npz file does not hold images in a known form",
        "EK207": "the classes of the data set and of the model do not fit together",
        "EK208": "there are not enough images",
        "EK209": "the sample that ships with edgekit is damaged",
        "EK210": "the storage of the data set cannot be reached, or refuses",
        "EK211": "the server gives whole files only",
        # EK3xx: training
        "EK301": "the training run cannot be resumed",
        "EK302": "training diverged",
        "EK303": "the teacher does not fit the model",
        "EK304": "the processes of a training run lost one another",
        # EK4xx: export
        "EK401": "the opset is outside what edgekit writes",
        "EK402": "a node prevents the opset that was asked for",
        "EK403": "the exported model computes something else than the model it came from",
        "EK404": "the exported model is not valid ONNX",
        # EK5xx: quantization
        "EK501": "dynamic quantization of convolutions is not offered",
        "EK502": "the calibration images give no usable range",
        "EK503": "the opset is too old for the quantized form",
        "EK504": "the model is quantized already",
        "EK505": "the model has nothing that can be quantized this way",
        "EK506": "the calibration file is damaged",
        "EK507": "quantization-aware training diverged",
        # EK6xx: comparison
        "EK601": "the two models cannot be compared",
        "EK602": "a model computes NaN or infinity",
        "EK603": "a model fails while it runs",
        "EK604": "a model answers the same whatever the image",
        "EK605": "the labels are not those that the models know",
        "EK610": "the backend is not installed",
        "EK611": "the provider is not there",
        "EK612": "the backend cannot run the model",
        "EK613": "a model fails while it is timed",
        "EK614": "the memory of a model cannot be measured",
        "EK620": "the layers of the two models do not match",
        "EK630": "the committed baseline does not exist",
        "EK631": "the committed baseline is damaged",
        "EK632": "the committed baseline was written by a newer edgekit",
        "EK633": "the committed baseline was recorded on other images",
        "EK634": "the committed baseline has another number of classes",
        "EK635": "a limit of the gate asks for what was not measured",
        "EK636": "the gate's limits in edgekit.toml are wrong",
        # EK7xx: targets and engines
        "EK701": "the target card is wrong",
        "EK702": "TensorRT cannot read the model on that target",
        "EK703": "CUDA finds no GPU that it can use",
        "EK704": "no container can be run",
        "EK705": "the container image is missing",
        "EK706": "the disk where the engine is built is full",
        "EK707": "trtexec, or TensorRT's Python with pycuda, is missing",
        "EK708": "the build was killed or ran out of memory",
        "EK709": "the engine was made by another version or device",
        "EK710": "a sample does not fit the model's input",
        "EK711": "a file of the bundle is missing or changed",
        "EK712": "the build or the run of the engine failed",
        "EK713": "the device cannot be reached",
        "EK714": "the device lets nobody in",
        "EK715": "the host key of the device is unknown or changed",
        "EK716": "the connection to the device was lost",
        "EK717": "the engine that came back is not whole",
        "EK720": "the file is not an answer of a device",
        "EK721": "there is no bundle that the answer belongs to",
        "EK722": "the answer is to another bundle",
        "EK723": "the outputs of the device do not fit the samples",
        "EK724": "the device computed NaN or infinity",
        "EK725": "two devices answered different samples",
        "EK730": "what was emitted computes something else than the model",
        "EK731": "the card does not state what an estimate needs",
        "EK732": "the estimator file is wrong",
        "EK733": "an answer of a device cannot be used to fit an estimator",
        # EK8xx: pruning
        "EK801": "the channels of the model cannot be followed",
        "EK802": "the budget cannot be met",
        "EK803": "a layer would be left without channels",
        "EK804": "pruning or recovery needs images and there are none",
        "EK805": "the target makes nothing of this kind of pruning",
        # EK9xx: edgekit itself
        "EK999": "edgekit has a defect",
    }
)


# How torch and onnxruntime say, in exceptions of their own, that an allocation failed.
_OUT_OF_MEMORY = re.compile(r"can't allocate memory|not enough memory|failed to allocate|bad[_ ]alloc", re.IGNORECASE)


def says_out_of_memory(error: Exception) -> bool:
    """Tell whether an error, of whatever library, is that of an allocation that failed."""
    return isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)) is not None


class EdgekitError(Exception):
    """Something a person can put right: what was wrong, where, and what to do.

    Args:
        code: Stable code, a key of `CODES`.
        what: What was wrong, in one sentence without a full stop.
        where: File, option, layer or node that it concerns; empty when `what` says it.
        hint: What to do about it, in one sentence without a full stop.
    """

    def __init__(self, code: str, what: str, *, hint: str, where: str = "") -> None:
        if code not in CODES:
            raise ValueError(f"unknown error code {code}")
        super().__init__(what)
        self.code = code
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        return f"{self.code} {where}{self.what}; {self.hint}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.code, self.what, self.hint, self.where))

    def as_dict(self) -> dict[str, str]:
        """Return the same facts as plain strings, for `--json`."""
        return {"code": self.code, "what": self.what, "where": self.where, "hint": self.hint}


def _rebuild(kind: type[EdgekitError], code: str, what: str, hint: str, where: str) -> EdgekitError:
    return kind(code, what, hint=hint, where=where)


class UsageError(EdgekitError):
    """A wrong option, or something missing on this machine (EK0xx)."""


class ModelError(EdgekitError):
    """A model file or checkpoint that cannot be used (EK1xx)."""


class DataError(EdgekitError):
    """A data set that cannot be used (EK2xx)."""


class TrainingError(EdgekitError):
    """A training run that cannot start or go on (EK3xx)."""


class ExportError(EdgekitError):
    """A model that cannot be written as the ONNX that was asked for (EK4xx)."""


class QuantizationError(EdgekitError):
    """A model that cannot be quantized as asked (EK5xx)."""


class PruningError(EdgekitError):
    """The model cannot be pruned as asked (EK8xx)."""


class ComparisonError(EdgekitError):
    """Two models that cannot be compared (EK6xx)."""


class TargetError(EdgekitError):
    """A target that cannot be used, or a model that it cannot run (EK7xx)."""
