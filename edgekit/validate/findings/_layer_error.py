"""How far each layer of a candidate is from FP32, with and without the error that was carried in."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from edgekit.validate._accumulate import DriftAccumulator
from edgekit.validate._evaluate import Batch, Progress
from edgekit.validate._layers import decibels
from edgekit.validate.findings._layers import Floats, Layer, Quantizer
from edgekit.validate.findings._network import Array, Network

# Of each channel and image; a diagnosis looks at tens of images.
_PIXELS = 32
# Values that a range is judged on; more change nothing that is reported.
_MOST_JUDGED = 1 << 16
# Ranges tried, as shares of the widest that the values need, when the best is asked for.
_SHARES = np.geomspace(0.1, 1.0, 16)
_LEVELS = 255


@dataclasses.dataclass(frozen=True)
class Rounding:
    """What quantizing the FP32 output of a layer alone does to it: mean squared errors.

    Attributes:
        noise: With the quantizer as it is.
        clipped: The part of it that is cut off at the ends of the range.
        best: With one 8-bit range chosen for these values.
    """

    noise: float
    clipped: float
    best: float

    @property
    def excess_db(self) -> float:
        """How much more noise there is than need be, in dB."""
        return decibels(self.noise, self.best)


@dataclasses.dataclass(frozen=True, eq=False)
class Observation:
    """What was seen of one layer.

    Attributes:
        layer: The layer.
        sqnr_db: Of its output when the whole candidate runs.
        own_sqnr_db: Of its output on the inputs that it has in FP32.
        kernel_sqnr_db: Of what its integer kernel gives against what the file says, on the candidate's inputs.
        pixels: Pixels of its output; 1 behind the pooling.
        expected: Samples of its FP32 output, (N, channels).
        own: What the candidate's layer gives there on the inputs that it has in FP32.
        quantizer: The layer's, in the scale of `expected`.
    """

    layer: Layer
    sqnr_db: float
    own_sqnr_db: float
    kernel_sqnr_db: float
    pixels: int
    expected: npt.NDArray[np.float32]
    own: npt.NDArray[np.float32]

    quantizer: Quantizer | None

    @functools.cached_property
    def noise(self) -> float:
        """Mean squared error of the layer itself, on the samples."""
        return float(np.square(self.own - self.expected).mean(dtype=np.float64))

    @functools.cached_property
    def rounding(self) -> Rounding | None:
        """What its quantizer alone does; None when its output stays in float."""
        if self.quantizer is None:
            return None
        stride = max(1, self.expected.size // _MOST_JUDGED)
        values = self.expected[::stride].astype(np.float64)
        noise = _mean_square(self.quantizer.rounded(values) - values)
        clipped = _mean_square(self.quantizer.clipped(values) - values)
        ranges = _ranges(values, self.quantizer.symmetric)
        best = min(_mean_square(quantizer.rounded(values) - values) for quantizer in ranges)
        return Rounding(noise, clipped, best)

    @property
    def rounding_dominates(self) -> bool:
        """Most of the layer's own error comes from how its output is rounded, not from its weights and bias."""
        return self.rounding is not None and self.rounding.noise > self.noise / 2

    @functools.cached_property
    def channel_shift(self) -> Floats:
        """Mean of the layer's own error in each channel."""
        shift: Floats = (self.own - self.expected).mean(axis=0, dtype=np.float64)
        return shift


def observe(
    network: Network, batches: Iterable[Batch], *, progress: Progress | None = None
) -> tuple[tuple[Observation, ...], float, int]:
    """Return what was seen of each layer, the mean KL of the candidate in nats, and the number of images.

    Args:
        network: The models.
        batches: Preprocessed images; a small sample of every tensor is kept of each, nothing else.
        progress: Called with 1 after each image.

    Raises:
        DataError: EK208 without images.
        ComparisonError: EK601 when logits hold NaN, EK620 when layers differ in shape.
    """
    sums = [_Sums(place) for place in range(len(network.layers))]
    answers = DriftAccumulator()
    for image in images_of(batches):
        expected = network.expected(image)
        whole = network.whole(image)
        answers.update(network.expected_logits(expected), network.logits(whole), None)
        for place, layer_sums in enumerate(sums):
            said = network.measured_of(place, network.from_float(place, whole, image))
            layer_sums.add(expected[place], network.own(place, expected), network.measured(place, whole), said)
        if progress is not None:
            progress(1)
    kl = answers.result().kl
    return tuple(each.result(network) for each in sums), float(kl.mean()), len(kl)


def images_of(batches: Iterable[Batch]) -> Iterator[npt.NDArray[np.float32]]:
    """Yield single images, (1, 3, H, W)."""
    for batch in batches:
        yield from np.split(batch.images, len(batch.images))


class _Sums:
    """What is collected of one layer."""

    def __init__(self, place: int) -> None:
        self._place = place
        self._generator = np.random.default_rng(place)
        self._energies = np.zeros(4)
        self._samples: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]] = []
        self._pixels = 1

    def add(self, expected: Array, own: Array, whole: Array, said: Array) -> None:
        expected, own, whole, said = (array[:1] for array in (expected, own, whole, said))
        energies = (expected, own - expected, whole - expected, whole - said)
        self._energies += [_energy(array) for array in energies]
        channels = expected.shape[1] if expected.ndim > 1 else 1
        self._pixels = expected.size // channels
        chosen = self._generator.permutation(self._pixels)[:_PIXELS]
        first, second = (array.reshape(channels, -1)[:, chosen].T for array in (expected, own))
        self._samples.append((np.ascontiguousarray(first), np.ascontiguousarray(second)))

    def result(self, network: Network) -> Observation:
        layer, gains = network.layers[self._place], network.gains[self._place]
        signal, own, whole, kernel = map(float, self._energies)
        expected_samples, own_samples = (np.concatenate(arrays) for arrays in zip(*self._samples, strict=True))
        quantizer = None if layer.quantizer is None else layer.quantizer.divided_by(gains.astype(np.float64))
        return Observation(
            layer=layer,
            sqnr_db=decibels(signal, whole),
            own_sqnr_db=decibels(signal, own),
            kernel_sqnr_db=decibels(signal, kernel),
            pixels=self._pixels,
            expected=expected_samples,
            own=own_samples,
            quantizer=quantizer,
        )


def _energy(array: Array) -> float:
    return float(np.square(array, dtype=np.float64).sum())


def _mean_square(errors: Floats) -> float:
    return float(np.square(errors).mean())


def _ranges(values: Floats, symmetric: bool) -> Iterator[Quantizer]:
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if symmetric:
        low, high = -max(-low, high), max(-low, high)
    for share in _SHARES:
        step = max((high - low) * share / _LEVELS, np.finfo(np.float32).tiny)
        first = np.rint(low * share / step) * step
        yield Quantizer(np.array([first]), np.array([first + _LEVELS * step]), np.array([step]), symmetric)
