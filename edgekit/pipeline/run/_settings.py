"""What a pipeline file may say: one table a stage, with the names and defaults of the commands' options.

Nothing heavy is imported here: a run that finds everything in the cache must not wait for torch.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from edgekit.spec import Activation, CalibrationMethod, Effort, Padding, Quantization

StageName = Literal["train", "prune", "recover", "export", "quantize", "build", "validate", "gate"]
STAGES: tuple[StageName, ...] = get_args(StageName)

# The same words as `edgekit.models`, `edgekit.training` and `edgekit.pruning`, which import torch; a test compares.
Architecture = Literal["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"]
RecipeName = Literal["sgd", "rmsprop_v1", "rmsprop_v3", "cifar10", "finetune_cifar10", "finetune"]
Importance = Literal["taylor", "l1", "l2", "bn_scale", "fpgm"]
Widths = Literal["sensitivity", "uniform"]
Repair = Literal["none", "bn", "repair"]

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Points = Annotated[float, Field(ge=0, le=100)]
Ratio = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Three = tuple[float, float, float]


class Table(BaseModel):
    """A table of the file: no key is unknown, no value is of another type."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class RunTable(Table):
    """What holds for the whole run."""

    output: Path = Path("edgekit-run")
    """Folder for the results, one folder a stage."""
    cache: Path = Path(".edgekit")
    """Folder for the results of all runs, which later runs use again."""
    target: str = "cpu"
    """Where the model will run: a name of `edgekit targets`, or a card of your own (.toml)."""
    jetpack: str | None = None
    """JetPack of a Jetson target. Default: the newest of its card."""
    seed: Seed = 0
    """Seed of everything that is drawn at random."""
    threads: Count = 0
    """Threads that training and a timed frame may use; 0 takes all cores."""
    device: Annotated[str, Field(pattern="^(auto|cpu|cuda(:[0-9]+)?)$")] = "cpu"
    """Where training runs: cpu, auto (a GPU where there is one), cuda or cuda:N. A GPU gives other bytes than a CPU."""


class ModelTable(Table):
    """The model that the pipeline starts from."""

    path: Path | None = None
    """A .safetensors or .pth/.pt state_dict, an .onnx file, or an architecture's name for random weights. Default: the
    CIFAR-10 MobileNet that ships; with [train], random weights."""
    architecture: Architecture | None = None
    """Architecture of a checkpoint whose metadata does not say."""
    width: Ratio | None = None
    """Width multiplier."""
    num_classes: Positive | None = None
    """Number of classes."""
    input_size: Positive | None = None
    """Height and width of the input, in pixels."""
    padding: Padding | None = None
    """torch, or tf_same for checkpoints that come from TensorFlow."""
    bn_eps: Ratio | None = None
    """Epsilon of batch normalisation."""
    stem_stride: Positive | None = None
    """Stride of the first convolution; 1 suits 32x32 images."""
    output_stride: Positive | None = None
    """Input size over last feature map size: 4, 8, 16 or 32."""
    activation: Activation | None = None
    """MobileNetV1: relu6 or relu."""
    conv_bias: bool | None = None
    """MobileNetV1: convolutions with biases of their own."""
    mean: Three | None = None
    """Mean of R, G, B in units of 0..1."""
    std: Three | None = None
    """Standard deviation of R, G, B in units of 0..1."""
    resize: Positive | None = None
    """Length of the short side before the centre crop, in pixels."""

    def overrides(self) -> dict[str, Any]:
        """Return what is said about the model, without where it lies."""
        return self.model_dump(exclude={"path"}, exclude_none=True)


class DataTable(Table):
    """The images: folders, one folder a class, a .zip or .tar of either, tar shards, a URL, or an .npz."""

    train: str | None = None
    """Images to train, prune and recover with. Default for pruning: the sample that ships, where it fits."""
    calibration: str | None = None
    """Images that set the int8 ranges; labels are not needed. Default: the sample that ships, where it fits."""
    calibration_samples: Positive = 128
    """How many of them, evenly spread."""
    eval: str | None = None
    """Labelled images to measure accuracy on. Default: the sample that ships, where it fits."""
    eval_samples: Positive | None = None
    """How many of them, evenly spread. Default: all."""


class StageTable(Table):
    """What every stage has."""

    enabled: bool = True
    """false leaves the stage out, as if its table were not there."""


class TrainTable(StageTable):
    """Train or fine-tune, as `edgekit train` does, on the images of [data] train."""

    recipe: RecipeName | None = None
    """How to train. Default: finetune with [model] path, else sgd."""
    epochs: Positive | None = None
    """Epochs; the schedule is stretched to fit. Default: those of the recipe."""
    batch_size: Annotated[int, Field(ge=2)] | None = None
    """Images a step."""
    learning_rate: Ratio | None = None
    """Highest learning rate."""
    weight_decay: Annotated[float, Field(ge=0, lt=1)] | None = None
    """L2 penalty on weights."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Label smoothing."""
    evaluate_every: Positive = 1
    """Epochs from one evaluation to the next."""
    teacher: Path | None = None
    """Checkpoint to learn from beside the labels."""
    distill_weight: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Share of the loss that is distance from the teacher."""
    temperature: Ratio = 4.0
    """Softens the logits of model and teacher."""


class PruneTable(StageTable):
    """Make the model smaller, as `edgekit prune` does."""

    method: Literal["structured", "unstructured", "2:4"] = "structured"
    """structured: whole channels; unstructured: the smallest weights; 2:4: for sparse cores."""
    macs: Share | None = None
    """Structured: multiply-adds after over before."""
    params: Share | None = None
    """Structured: parameters after over before."""
    latency: Share | None = None
    """Structured: time per frame after over before, here or on the target. Measured times decide, so two runs may
    differ."""
    amount: Share | None = None
    """Unstructured: share of the weights that goes."""
    importance: Importance = "taylor"
    """Which channels stay: taylor (gradients on images), l1, l2, bn_scale or fpgm."""
    widths: Widths = "sensitivity"
    """How many stay: sensitivity (measured) or uniform, the same share everywhere."""
    divisor: Positive = 8
    """Channel counts become multiples of it."""
    recover: Repair = "repair"
    """none; bn: measure normalisation anew; repair: refit every layer. Training is the stage [recover]."""
    samples: Positive = 256
    """How many images judge and repair, evenly spread."""

    @model_validator(mode="after")
    def _one_budget(self) -> PruneTable:
        budgets = [name for name in ("macs", "params", "latency") if getattr(self, name) is not None]
        if self.method == "structured" and (len(budgets) != 1 or self.amount is not None):
            raise ValueError("structured pruning has one budget: macs, params or latency")
        if self.method == "unstructured" and (budgets or self.amount is None):
            raise ValueError("unstructured pruning takes an amount")
        if self.method == "2:4" and (budgets or self.amount is not None):
            raise ValueError("2:4 is half of the weights and takes no budget")
        return self


class RecoverTable(StageTable):
    """Train the pruned model back, as `edgekit prune --recover distill` does, on the images of [data] train."""

    method: Literal["distill", "finetune"] = "distill"
    """distill: learn from the original, labels are not needed; finetune: learn from labels."""
    original: Path | None = None
    """Checkpoint of the model before pruning. Default: what [prune] started from."""
    recipe: RecipeName = "finetune"
    """How to train."""
    epochs: Positive | None = None
    """Epochs at most. Default: those of the recipe."""
    batch_size: Annotated[int, Field(ge=2)] | None = None
    """Images a step."""
    learning_rate: Ratio | None = None
    """Highest learning rate."""
    patience: Positive = 5
    """Epochs without gain on held-out images before the end."""


class ExportTable(StageTable):
    """Write the model as FP32 ONNX, as `edgekit export --quantize none` does."""

    opset: Positive | None = None
    """ONNX opset, 13 to 21, of this stage and of [quantize]. Default: 17, or an .onnx file's own."""


class QuantizeTable(StageTable):
    """Quantize to int8, as `edgekit export` does, with the images of [data] calibration."""

    method: Quantization = "static"
    """static, dynamic (linear layers only), or qat (trains after static, on the images of [data] train)."""
    calibration_method: CalibrationMethod = "auto"
    """auto, minmax, percentile, entropy or mse."""
    effort: Effort = "balanced"
    """fast (plain calibration), balanced (climbs the accuracy ladder) or best."""
    max_drop: Points | None = None
    """Stop climbing when at most this many points of the images change their answer."""
    mixed: bool = False
    """Leave layers in float where int8 is measured to be slower. Measured times decide, so two runs may differ."""
    weight_bits: Annotated[int, Field(ge=2, le=8)] = 8
    """Bits of a weight; below 8 a stress test, stored as int8."""
    qat_steps: Positive = 300
    """qat: batches of 32 to train on."""
    qat_learning_rate: Ratio = 0.02
    """qat: what a weight moves a step, in steps of its grid."""
    qat_label_weight: Annotated[float, Field(ge=0, le=1)] = 0.0
    """qat: share of the labels; the rest is learned from FP32."""
    learned_scales: bool = False
    """qat: train the scales of activations too."""

    @model_validator(mode="after")
    def _quantizes(self) -> QuantizeTable:
        if self.method == "none":
            raise ValueError("method = none quantizes nothing: leave the table out")
        return self


class BuildTable(StageTable):
    """Make an engine for the target, or a bundle that makes it there, as `edgekit build` does."""

    way: Literal["bundle", "here", "container", "host"] = "bundle"
    """bundle: a folder to carry to the device; here; container: on this machine; host: on the device, over ssh."""
    host: str | None = None
    """USER@HOST[:PORT], for way = "host"."""
    image: str | None = None
    """Image of the container. Default: the one that the target's card names."""
    samples: Positive = 16
    """How many images of [data] eval the device is checked on."""

    @model_validator(mode="after")
    def _host(self) -> BuildTable:
        if (self.way == "host") != (self.host is not None):
            raise ValueError('way = "host" and host = "USER@HOST" belong together')
        return self


class ValidateTable(StageTable):
    """Compare the last model with the one before pruning and quantization, as `edgekit validate` does."""

    baseline: Path | None = None
    """Model to compare with. Default: the model before pruning and quantization, in FP32."""
    max_drop: Points | None = None
    """The run exits 1 when top-1 (without labels: agreement) drops by more points."""
    diagnose: bool = False
    """Look for where the loss comes from, layer by layer."""
    html: bool = False
    """Write comparison.html, one page for everybody."""


def _size(value: int | str) -> int | str:
    """Return a size in bytes, or a ratio as `edgekit gate --max-size` reads it."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if value == 0 or (isinstance(value, str) and not re.fullmatch(r"\d+(\.\d+)?x", value)):
        raise ValueError('bytes as 1500000, or a ratio to the baseline\'s size as "0.3x"')
    return value


class GateTable(StageTable):
    """Hold the last model against limits, as `edgekit gate` does."""

    baseline: Path | None = None
    """Model to compare with, or the .json that `edgekit gate --update` committed. Default: as for [validate]."""
    max_drop: Annotated[float, Field(ge=-100, le=100)] | None = None
    """Largest drop of top-1 allowed, in points."""
    min_agreement: Points | None = None
    """Smallest share of images with the same answer, in percent."""
    max_size: Annotated[int | str, AfterValidator(_size)] | None = None
    """Largest size: bytes as 1500000, or a ratio to the baseline's as "0.3x"."""
    min_speedup: Ratio | None = None
    """Smallest speed-up over the baseline."""
    max_p99_ratio: Ratio | None = None
    """Largest p99 of the time per frame over the baseline's."""
    these_images: bool = False
    """true asks about the images evaluated and no others: what was counted decides."""
    allow_inconclusive: bool = False
    """true lets the run exit 0 when the images can show nothing either way."""


class Pipeline(Table):
    """A whole pipeline file; a stage whose table is not there is not run."""

    run: RunTable = RunTable()
    model: ModelTable = ModelTable()
    data: DataTable = DataTable()
    train: TrainTable | None = None
    prune: PruneTable | None = None
    recover: RecoverTable | None = None
    export: ExportTable | None = None
    quantize: QuantizeTable | None = None
    build: BuildTable | None = None
    validation: ValidateTable | None = Field(None, alias="validate")
    gate: GateTable | None = None

    @model_validator(mode="after")
    def _stages_fit_together(self) -> Pipeline:
        if not self.stages():
            raise ValueError(f"there is no stage: add a table of {', '.join(f'[{name}]' for name in STAGES)}")
        if self.train and self.train.enabled and self.data.train is None:
            raise ValueError("[train] needs images: set train in [data]")
        if self.recover and self.recover.enabled:
            if not (self.prune and self.prune.enabled) and self.recover.original is None:
                raise ValueError("[recover] follows [prune], or needs original = the model before pruning")
            if self.data.train is None and self.model.path is not None:
                raise ValueError("[recover] needs images: set train in [data]")
        if self.is_onnx and (named := [name for name in ("train", "prune", "recover") if name in self.stages()]):
            raise ValueError(f"[{named[0]}] needs a checkpoint, and [model] path is an .onnx file")
        for name in ("validate", "gate"):
            if name in self.stages() and not self._makes_another_model(name):
                raise ValueError(f"[{name}] has nothing to compare: no stage before it changes the model")
        return self

    def _makes_another_model(self, name: str) -> bool:
        table = self.validation if name == "validate" else self.gate
        baseline = getattr(table, "baseline", None)
        return baseline is not None or bool({"prune", "recover", "quantize"} & set(self.stages()))

    @property
    def is_onnx(self) -> bool:
        """Whether the pipeline starts from an `.onnx` file."""
        return self.model.path is not None and self.model.path.suffix.lower() == ".onnx"

    def table(self, name: StageName) -> StageTable | None:
        """Return the table of a stage; None where it is not there or not enabled."""
        table: StageTable | None = self.validation if name == "validate" else getattr(self, name)
        return table if table is not None and table.enabled else None

    def stages(self) -> tuple[StageName, ...]:
        """Return the stages that are run, in order."""
        return tuple(name for name in STAGES if self.table(name) is not None)

    def files(self) -> tuple[tuple[str, Path | str], ...]:
        """Return the key and the path of each file that must be there before the run."""
        named: list[tuple[str, Path | str | None]] = [
            ("model.path", self.model.path if str(self.model.path) not in get_args(Architecture) else None),
            ("run.target", Path(self.run.target) if self.run.target.endswith(".toml") else None),
            *((f"data.{name}", getattr(self.data, name)) for name in ("train", "calibration", "eval")),
        ]
        for stage in self.stages():
            table = self.table(stage)
            named += [(f"{stage}.{key}", getattr(table, key, None)) for key in ("teacher", "original", "baseline")]
        return tuple((key, path) for key, path in named if path is not None)
