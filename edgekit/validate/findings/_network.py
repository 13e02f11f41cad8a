"""A candidate that runs layer by layer, each as the candidate has it or as the baseline has it.

Each layer is a session of its own, so any of them can be given the baseline's input, or be replaced by the baseline's
layer. Between integers it is onnxruntime's integer kernel that runs, as in the whole file. On inputs in float a layer
computes what the ONNX standard says of Q/DQ: float arithmetic between roundings, on every processor alike.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx

from edgekit.errors import ComparisonError
from edgekit.spec import EQUALIZED_KEY
from edgekit.validate._session import session
from edgekit.validate.findings._gains import channel_gains
from edgekit.validate.findings._graph import Graph, Segment
from edgekit.validate.findings._layers import Layer, not_matching, read_layers

if TYPE_CHECKING:
    import onnxruntime

Array = npt.NDArray[Any]
# What each tensor that a layer of the candidate makes holds, for every layer.
Values = list[Mapping[str, Array]]


class Network:
    """The layers of a candidate and of its baseline, ready to run on one image at a time.

    Args:
        baseline: FP32 model.
        candidate: Model made from it.

    Raises:
        ComparisonError: EK620 when their layers do not match.
        ModelError: EK108 when onnxruntime cannot run one of them.
    """

    def __init__(self, baseline: onnx.ModelProto, candidate: onnx.ModelProto) -> None:
        reference, graph = Graph(baseline), Graph(candidate)
        found = read_layers(reference, graph)
        self.layers: Sequence[Layer] = found.layers
        self._made_by, self._expected_from = found.made_by, found.expected_from
        self._output, self._output_place = graph.output, found.output
        names = [layer.expected for layer in self.layers[1:]]
        self._fp32 = session(reference.watching(names).SerializeToString(), threads=1)
        self._names, self._input = names, reference.input
        self._shapes = reference.input_shape, graph.input_shape
        self._batch = _fixed_batch(*self._shapes)
        self._candidate = [_opened(layer.candidate) for layer in self.layers]
        self._kernels = [_opened(layer.kernel) for layer in self.layers]
        self._baseline = [_opened(layer.baseline) for layer in self.layers]
        # What each channel was multiplied by on purpose, one number for all where none was.
        equalized = graph.metadata(EQUALIZED_KEY) is not None
        self.gains = channel_gains(found) if equalized else [np.ones(1, np.float32) for _ in self.layers]

    def expected(self, image: npt.NDArray[np.float32]) -> list[Array]:
        """Return what the baseline has where each layer of the candidate ends; the first is the image.

        Raises:
            ComparisonError: EK601 when the image has another size than the models take.
        """
        for shape in self._shapes:
            if any(wanted not in (None, found) for wanted, found in zip(shape[1:], image.shape[1:], strict=False)):
                raise ComparisonError(
                    "EK601",
                    f"an image of shape {list(image.shape[1:])} meets a model for {list(shape[1:])}",
                    hint="compare models of the same input size, on images prepared for it",
                )
        images = self._repeated(image)
        return [images, *self._fp32.run(self._names, {self._input: images})]

    def own(self, place: int, expected: Sequence[Array]) -> Array:
        """Return what a layer of the candidate makes of the baseline's inputs."""
        return self._unscaled(place, self._own_scaled(place, expected))

    def whole(self, image: npt.NDArray[np.float32]) -> Values:
        """Return what every layer makes when the whole candidate runs."""
        return self.restored(frozenset(), [{}] * len(self.layers), image)

    def _repeated(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return as many copies of an image as a model of a fixed batch size takes."""
        return image if self._batch == 1 else np.repeat(image, self._batch, axis=0)

    def restored(self, places: Collection[int], values: Values, image: npt.NDArray[np.float32]) -> Values:
        """Return what every layer makes when those at `places` run in float.

        Args:
            places: Layers that run as the baseline has them, and whose output is not rounded.
            values: What `whole` returned; layers that nothing changes for keep it.
            image: The image.
        """
        image = self._repeated(image)
        result = list(values)
        changed: set[int] = set()
        for place, layer in enumerate(self.layers):
            if place in places:
                result[place] = self._in_float(place, result, image)
            elif not result[place] or any(self._made_by[name] in changed for name in layer.candidate.inputs if place):
                result[place] = self._as_candidate(place, result, image)
            else:
                continue
            changed.add(place)
        return result

    def measured(self, place: int, values: Values) -> Array:
        """Return what a layer made, to compare with `expected`."""
        return self.measured_of(place, values[place])

    def measured_of(self, place: int, made: Mapping[str, Array]) -> Array:
        """Return the tensor to compare among those that a layer made."""
        return self._unscaled(place, made[self.layers[place].tensors[0]])

    def logits(self, values: Values) -> Array:
        """Return the answer of the candidate, one row."""
        return values[self._output_place][self._output][:1]

    def expected_logits(self, expected: Sequence[Array]) -> Array:
        """Return the answer of the baseline, one row."""
        return expected[self._output_place][:1]

    def from_float(self, place: int, values: Values, image: npt.NDArray[np.float32]) -> Mapping[str, Array]:
        """Return what a layer of the candidate makes of given values as the ONNX standard says, not by its kernel."""
        layer, run = self.layers[place], self._candidate[place]
        image = image if len(image) == self._batch else self._repeated(image)
        return self._made(layer, layer.candidate, run, self._feeds(place, layer.candidate, values, image), image)

    def can_restore(self, place: int) -> bool:
        """Tell whether a layer can run in float alone."""
        return self.layers[place].baseline is not None

    def _own_scaled(self, place: int, expected: Sequence[Array]) -> Array:
        layer, run = self.layers[place], self._candidate[place]
        tensor = layer.tensors[0]
        if run is None or tensor not in layer.candidate.outputs:
            return expected[place]
        feeds = {
            name: self._scaled(self._made_by[name], expected[self._made_by[name]]) for name in layer.candidate.inputs
        }
        (own,) = run.run([tensor], feeds)
        if own.shape != expected[place].shape:
            raise not_matching(
                f"layer {layer.name} gives {list(own.shape)} numbers, the baseline {list(expected[place].shape)}"
            )
        return np.asarray(own)

    def _as_candidate(self, place: int, values: Values, image: Array) -> Mapping[str, Array]:
        layer = self.layers[place]
        kernel, run = layer.kernel, self._kernels[place]
        if kernel is None or run is None or not self._in_integers(place, kernel, values):
            return self.from_float(place, values, image)
        return self._made(layer, kernel, run, self._feeds(place, kernel, values, image), image)

    def _in_integers(self, place: int, kernel: Segment, values: Values) -> bool:
        """Whether what a layer reads has integers; a layer that was restored has none."""
        return not place or all(name in values[self._made_by[name]] for name in kernel.inputs)

    def _feeds(self, place: int, segment: Segment, values: Values, image: Array) -> dict[str, Array]:
        if not place:
            return dict.fromkeys(segment.inputs, image)
        return {name: values[self._made_by[name]][name] for name in segment.inputs}

    def _made(
        self,
        layer: Layer,
        segment: Segment,
        run: onnxruntime.InferenceSession | None,
        feeds: Mapping[str, Array],
        image: Array,
    ) -> Mapping[str, Array]:
        made = {} if run is None else dict(zip(segment.outputs, run.run(None, feeds), strict=True))
        # The image itself, where layers read it unquantized.
        return {**made, **{name: image for name in layer.tensors if name not in made}}

    def _in_float(self, place: int, values: Values, image: Array) -> Mapping[str, Array]:
        layer, run = self.layers[place], self._baseline[place]
        array = image
        if place:
            assert layer.baseline is not None
            assert run is not None
            sources = {name: self._expected_from[name] for name in layer.baseline.inputs}
            feeds = {name: np.asarray(self.measured(source, values)) for name, source in sources.items()}
            (array,) = run.run(None, feeds)
        return dict.fromkeys(layer.tensors, self._scaled(place, array))

    def _scaled(self, place: int, array: Array) -> Array:
        return array if self.gains[place].size == 1 else array * _along(self.gains[place], array)

    def _unscaled(self, place: int, array: Array) -> Array:
        return array if self.gains[place].size == 1 else array / _along(self.gains[place], array)


def _fixed_batch(*shapes: tuple[int | None, ...]) -> int:
    """Return how many images two models take at a time, 1 where they leave that open."""
    sizes = {shape[0] for shape in shapes if shape and shape[0] is not None}
    if len(sizes) > 1:
        raise not_matching(f"one model takes {min(sizes)} images at a time and the other {max(sizes)}")
    return sizes.pop() if sizes else 1


def _opened(segment: Segment | None) -> onnxruntime.InferenceSession | None:
    if segment is None or segment.model is None:
        return None
    # One thread: there are hundreds of them, and an idle pool each would cost more than it gains.
    return session(segment.model.SerializeToString(), threads=1)


def _along(gains: Array, array: Array) -> Array:
    return gains.reshape((1, -1) + (1,) * (array.ndim - 2))
