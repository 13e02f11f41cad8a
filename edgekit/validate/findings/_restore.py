"""What the candidate would answer if some of its layers ran in float."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from edgekit.validate._accumulate import DriftAccumulator
from edgekit.validate._evaluate import Batch, Progress
from edgekit.validate.findings._layer_error import images_of
from edgekit.validate.findings._network import Network


def restored_kl(
    network: Network, batches: Iterable[Batch], choices: Sequence[Collection[int]], *, progress: Progress | None = None
) -> tuple[float, ...]:
    """Return the mean KL in nats from the baseline, for each choice of layers that run in float.

    Only what lies behind the first of them is run again for each choice.

    Args:
        network: The models.
        batches: The images that the layers were observed on.
        choices: Places of layers that can be restored.
        progress: Called with 1 after each image.

    Raises:
        DataError: EK208 without images.
        ComparisonError: EK601 when logits hold NaN.
    """
    answers = [DriftAccumulator() for _ in choices]
    for image in images_of(batches):
        expected = network.expected_logits(network.expected(image))
        whole = network.whole(image)
        for places, answer in zip(choices, answers, strict=True):
            answer.update(expected, network.logits(network.restored(places, whole, image)), None)
        if progress is not None:
            progress(1)
    return tuple(float(answer.result().kl.mean()) for answer in answers)
