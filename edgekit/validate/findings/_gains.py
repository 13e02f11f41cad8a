"""What equalization multiplied each channel of a candidate by, read off its weights.

Equalization multiplies the output channels of a convolution and divides the weights of what reads them, so a row of the
candidate's weight is a row of the baseline's, times its own gain, over those of its inputs. Weights tell it whatever is
wrong with the activations.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgekit.validate.findings._layers import Filters, Layers

_POOLS = frozenset({"AveragePool", "GlobalAveragePool", "MaxPool"})

Gains = npt.NDArray[np.float32]


def channel_gains(layers: Layers) -> list[Gains]:
    """Return the gain of each channel of each layer's output; one number, 1, where no channel was scaled."""
    gains: list[Gains] = []
    for place, layer in enumerate(layers.layers):
        sources = [gains[source] for source in layer.sources if 0 <= source < place]
        if place == layers.output or not sources:
            gains.append(np.ones(1, np.float32))
        elif layer.filters is not None:
            gains.append(_of_convolution(layer.filters, sources[0]))
        else:
            gains.append(sources[0] if layer.op_type in _POOLS else np.ones(1, np.float32))
    return gains


def _of_convolution(filters: Filters, source: Gains) -> Gains:
    """Return the factor of each row that fits best; 1 for a row of zeros."""
    outputs, width = filters.baseline.shape[:2]
    first = np.arange(outputs) // (outputs // filters.groups) * width
    read = np.broadcast_to(source, (width * filters.groups,))
    inputs = read[first[:, np.newaxis] + np.arange(width)].reshape(outputs, width, 1, 1)
    expected = (filters.baseline / inputs).reshape(outputs, -1).astype(np.float64)
    actual = filters.candidate.reshape(outputs, -1).astype(np.float64)
    signal = np.square(expected).sum(axis=1)
    fitted = np.divide((actual * expected).sum(axis=1), signal, out=np.ones(outputs), where=signal > 0)
    return np.where(fitted > 0, fitted, 1.0).astype(np.float32)
