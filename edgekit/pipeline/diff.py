"""`edgekit diff`: what changed between two models, layer by layer, or between two runs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.errors import UsageError
from edgekit.pipeline.run import Difference, read_lock

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import onnx

RUN_FILE = "run.json"
_RUN_SCHEMA = "edgekit.run/1"
_CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_MODELS = frozenset({"model.safetensors", "model.fp32.onnx", "model.int8.onnx", "model.onnx"})
# Numbers of a run that are times: they are shown, and never count as a change.
_TIMES = frozenset({"frame_ms", "speedup"})
Change = Literal["same", "changed", "added", "removed"]


@dataclasses.dataclass(frozen=True)
class LayerDifference:
    """One layer of two models.

    Attributes:
        name: Its name.
        change: Whether it is the same, or in one of the two alone.
        what: What changed, in words.
        distance: Euclidean distance of its weights over the norm of the first model's; None where shapes differ or
            there are none. Integer weights count as what they stand for.
    """

    name: str
    change: Change
    what: tuple[str, ...]
    distance: float | None


@dataclasses.dataclass(frozen=True)
class ModelDifference:
    """Two models: their layers, and what else differs about them."""

    first: str
    second: str
    layers: tuple[LayerDifference, ...]
    metadata: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        """Whether they compute the same, by the same description."""
        return not self.metadata and all(layer.change == "same" for layer in self.layers)


@dataclasses.dataclass(frozen=True)
class RunDifference:
    """Two runs.

    Attributes:
        first: The first run as it was named.
        second: The second.
        settings: Keys that differ, with both values.
        versions: Versions of edgekit and libraries that differ.
        files: Results whose bytes differ, as `stage/file`.
        numbers: What each stage came to, where that differs; times are left out.
        models: Models among those results, where both are there.
    """

    first: str
    second: str
    settings: tuple[Difference, ...]
    versions: tuple[Difference, ...]
    files: tuple[Difference, ...]
    numbers: tuple[Difference, ...]
    models: tuple[ModelDifference, ...]

    @property
    def same(self) -> bool:
        """Whether the results are the same, byte for byte."""
        return not self.files


@dataclasses.dataclass(frozen=True)
class _Layer:
    """A layer of a model: what it is, in words by aspect, and its weights."""

    aspects: Mapping[str, str]
    weights: npt.NDArray[np.float32] | None


@dataclasses.dataclass(frozen=True)
class _Run:
    settings: Mapping[str, Any]
    versions: Mapping[str, Any]
    files: Mapping[str, str]
    numbers: Mapping[str, Any]
    folder: Path | None


def diff(first: str, second: str) -> ModelDifference | RunDifference:
    """Compare two models, each a checkpoint or an `.onnx` file, or two runs, each an output folder or a lock file.

    Raises:
        UsageError: EK011 when there is nothing of that name, EK013 or EK015 when a run cannot be read, EK016 when one
            is a run and the other is not.
        EdgekitError: EK1xx when a model cannot be used.
    """
    runs = [_is_run(Path(name)) for name in (first, second)]
    if runs[0] != runs[1]:
        raise UsageError(
            "EK016",
            "one is a run and the other is a model",
            where=f"{first} and {second}",
            hint="compare two models, or two output folders or lock files of edgekit run",
        )
    return _diff_runs(first, second) if runs[0] else diff_models(first, second)


def _is_run(path: Path) -> bool:
    if path.is_dir() and not (path / RUN_FILE).is_file():
        raise UsageError(
            "EK016",
            f"the folder has no {RUN_FILE}",
            where=str(path),
            hint="give the output folder of edgekit run, a lock file, or a model",
        )
    return path.is_dir() or path.suffix == ".lock" or path.name == RUN_FILE


def diff_models(first: str, second: str) -> ModelDifference:
    """Compare two models layer by layer; a checkpoint beside an `.onnx` file is compared as what it exports to.

    Raises:
        EdgekitError: EK1xx when a model cannot be used, EK4xx when a checkpoint cannot be exported.
    """
    from edgekit.pipeline.sources import is_onnx

    read = _onnx_layers if is_onnx(first) or is_onnx(second) else _checkpoint_layers
    (before, described), (after, redescribed) = read(first), read(second)
    names = [*before, *(name for name in after if name not in before)]
    layers = tuple(_layer_difference(name, before.get(name), after.get(name)) for name in names)
    return ModelDifference(first, second, layers, _differences(described, redescribed))


def _layer_difference(name: str, before: _Layer | None, after: _Layer | None) -> LayerDifference:
    if before is None or after is None:
        there = before or after
        assert there is not None
        return LayerDifference(name, "added" if before is None else "removed", (there.aspects["kind"],), None)
    what = [
        f"{aspect} {before.aspects.get(aspect, 'none')} → {after.aspects.get(aspect, 'none')}"
        for aspect in sorted({*before.aspects, *after.aspects})
        if before.aspects.get(aspect) != after.aspects.get(aspect)
    ]
    distance = _distance(before.weights, after.weights)
    if distance:
        what.append("weights")
    return LayerDifference(name, "changed" if what else "same", tuple(what), distance)


def _distance(before: npt.NDArray[np.float32] | None, after: npt.NDArray[np.float32] | None) -> float | None:
    import numpy as np

    if before is None or after is None or before.shape != after.shape:
        return None
    norm = float(np.linalg.norm(before))
    moved = float(np.linalg.norm(before - after))
    return moved / norm if norm else moved


def _checkpoint_layers(name: str) -> tuple[dict[str, _Layer], dict[str, Any]]:
    import numpy as np

    from edgekit.models import load

    loaded = load(name)
    grouped: dict[str, dict[str, npt.NDArray[np.float32]]] = {}
    for key, tensor in loaded.module.state_dict().items():
        layer, _, part = key.rpartition(".")
        if part != "num_batches_tracked":
            grouped.setdefault(layer, {})[part] = tensor.detach().numpy()
    layers = {}
    for layer, parts in grouped.items():
        aspects = {"kind": type(loaded.module.get_submodule(layer)).__name__}
        aspects |= {f"shape of {part}": _shape(array.shape) for part, array in parts.items()}
        layers[layer] = _Layer(aspects, np.concatenate([array.ravel() for array in parts.values()]))
    facts = {"architecture": dataclasses.asdict(loaded.spec), "preprocessing": dataclasses.asdict(loaded.preprocessing)}
    return layers, _flat({**facts, "classes": list(loaded.class_names or ())})


def _onnx_layers(name: str) -> tuple[dict[str, _Layer], dict[str, Any]]:
    from edgekit.models import NO_OVERRIDES
    from edgekit.pipeline.validate import open_model

    source = open_model(name, NO_OVERRIDES)
    graph = _Graph(source.model)
    layers = dict(graph.layers())
    opsets = {entry.domain or "ai.onnx": entry.version for entry in source.model.opset_import}
    facts = {"opset": opsets, "preprocessing": dataclasses.asdict(source.preprocessing)}
    return layers, _flat({**facts, "classes": list(source.class_names or ())})


class _Graph:
    """The constants and the conversions of an ONNX graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._made_by = {output: node for node in model.graph.node for output in node.output}

    def layers(self) -> Iterator[tuple[str, _Layer]]:
        """Yield each computing node with its name, in graph order."""
        import onnx

        for node in self._model.graph.node:
            if node.op_type in _CONVERSIONS:
                continue
            aspects = {"kind": node.op_type}
            for attribute in node.attribute:
                aspects[attribute.name] = str(onnx.helper.get_attribute_value(attribute))
            weights = self.weights(node)
            if weights is not None:
                aspects["shape"] = _shape(weights.shape)
            if node.input:
                aspects |= self._precision(node)
            yield node.name or node.output[0], _Layer(aspects, weights)

    def weights(self, node: onnx.NodeProto) -> npt.NDArray[np.float32] | None:
        """Return the second input of a node as the numbers that it stands for; None where it is no constant."""
        import numpy as np
        from onnx import numpy_helper

        if len(node.input) < 2:
            return None
        if node.input[1] in self._constants:
            array = numpy_helper.to_array(self._constants[node.input[1]])
            return array.astype(np.float32) if array.dtype.kind == "f" else None
        conversion = self._made_by.get(node.input[1])
        if conversion is None or conversion.op_type != "DequantizeLinear":
            return None
        if any(name not in self._constants for name in conversion.input):
            return None
        integers, scale, *rest = (numpy_helper.to_array(self._constants[name]) for name in conversion.input)
        zero = rest[0].astype(np.float32) if rest else np.zeros_like(scale)
        axis = next((attribute.i for attribute in conversion.attribute if attribute.name == "axis"), 1)
        shape = [-1 if scale.size > 1 and place == axis else 1 for place in range(integers.ndim)]
        dequantized: npt.NDArray[np.float32] = (integers.astype(np.float32) - zero.reshape(shape)) * scale.reshape(
            shape
        )
        return dequantized

    def _precision(self, node: onnx.NodeProto) -> dict[str, str]:
        from onnx import numpy_helper

        source = self._made_by.get(node.input[0])
        if source is None or source.op_type != "DequantizeLinear":
            return {"input": "float32"}
        constants = [self._constants.get(name) for name in source.input[1:]]
        values = [numpy_helper.to_array(each).ravel() for each in constants if each is not None]
        scale = f"scale {float(values[0][0]):.6g}" if values else "scale unknown"
        kind = f"{values[1].dtype} zero {int(values[1][0])}" if len(values) > 1 else "int8 zero 0"
        return {"input": f"{kind}, {scale}"}


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _diff_runs(first: str, second: str) -> RunDifference:
    before, after = _read_run(Path(first)), _read_run(Path(second))
    files = _differences(before.files, after.files)
    models = []
    if before.folder is not None and after.folder is not None:
        for difference in files:
            pair = [folder / difference.what for folder in (before.folder, after.folder)]
            if pair[0].name in _MODELS and all(path.is_file() for path in pair):
                models.append(diff_models(str(pair[0]), str(pair[1])))
    return RunDifference(
        first, second, _differences(before.settings, after.settings), _differences(before.versions, after.versions),
        files, _differences(before.numbers, after.numbers) if before.numbers and after.numbers else (), tuple(models),
    )  # fmt: skip


def _read_run(path: Path) -> _Run:
    if path.suffix == ".lock":
        lock = read_lock(path)
        files = {f"{stage.stage}/{name}": sha for stage in lock.stages for name, sha in stage.outputs.items()}
        versions = {"edgekit": lock.edgekit, "code": lock.code[:12], **lock.libraries}
        return _Run(_flat(lock.settings), versions, files, {}, None)
    record = path / RUN_FILE if path.is_dir() else path
    try:
        content = _of_this_schema(json.loads(record.read_text(encoding="utf-8")))
        files = {
            f"{stage['stage']}/{name}": stage["files"][name] for stage in content["stages"] for name in stage["same"]
        }
        numbers = {
            f"{line['stage']}.{name}": value
            for line in content["lines"]
            for name, value in line.items()
            if name not in _TIMES and name != "stage"
        }
        versions = {"edgekit": content["edgekit"], "code": content["code"][:12], **content["libraries"]}
        return _Run(_flat(content["settings"]), versions, files, numbers, record.parent)
    except OSError as error:
        raise UsageError(
            "EK011", f"the run cannot be read: {error.strerror or error}", where=str(record), hint="check the path"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UsageError(
            "EK015", f"not the record of a run ({what})", where=str(record), hint="run the pipeline again"
        ) from error


def _of_this_schema(content: Any) -> Any:
    if content["schema"] != _RUN_SCHEMA:
        raise ValueError(f"its schema is {content['schema']!r}, not {_RUN_SCHEMA!r}")
    return content


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested facts by dotted key."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    names = [*before, *(name for name in after if name not in before)]
    return tuple(
        Difference(name, str(before.get(name, "not there")), str(after.get(name, "not there")))
        for name in names
        if before.get(name) != after.get(name)
    )
