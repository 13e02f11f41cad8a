"""From two models and images to the layers that lose, and to what can be done about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

import onnx

from edgekit.results import Diagnosis, Finding, LayerError
from edgekit.validate._evaluate import Batch, Progress
from edgekit.validate.findings._layer_error import Observation, observe
from edgekit.validate.findings._network import Network
from edgekit.validate.findings._restore import restored_kl
from edgekit.validate.findings.causes import RULES, Rule
from edgekit.validate.findings.causes.preprocessing_mismatch import differing_metadata

PASSES = 2
"""How often a diagnosis goes over the images: `progress` is called so many times for each."""

# A layer this near to FP32 is not the one that loses: an error of a thirtieth of a percent in amplitude.
_NEGLIGIBLE_DB = 70.0
_MOST_TRIED = 96
_LIKE_THE_WORST_DB = 15.0
# A cause matters if at least so much goes away when its layers run in float.
_SHARE = 10.0
_NATS = 0.003


@dataclasses.dataclass(frozen=True)
class _Suspect:
    """A cause and the layers that it was seen in, the worst first, each with its evidence."""

    rule: Rule
    places: tuple[int, ...]
    evidence: tuple[str, ...]


def diagnose(
    baseline: onnx.ModelProto,
    candidate: onnx.ModelProto,
    batches: Callable[[], Iterable[Batch]],
    *,
    progress: Progress | None = None,
) -> Diagnosis:
    """Say which layers of a candidate lose, and why, and what to do about it.

    Tens of images are enough: they are gone over `PASSES` times, one at a time, and of each a small sample of every
    layer stays in memory (about 3 MB for a MobileNet at 224).

    The candidate runs on onnxruntime's integer kernels, as it does outside. A layer's own error is what the file says,
    whatever the kernel of this processor makes of it.

    Args:
        baseline: FP32 model.
        candidate: A Q/DQ model made from it, by edgekit or any other tool; layers are matched by tensor names.
        batches: Starts a pass over the preprocessed images, always the same ones.
        progress: Called with 1 after each image of each pass.

    Returns:
        The mean KL of the candidate on these images; its layers in graph order; findings by the share of that KL
        that goes away when the layers concerned run in float, the largest first. Only causes that matter are among
        them. Shares of two findings overlap where errors add up or cancel.

    Raises:
        ComparisonError: EK601 when logits hold NaN, EK620 when the layers of the two models do not match.
        DataError: EK208 without images.
        ModelError: EK107 when the preprocessing that a file states is not readable, EK108 when onnxruntime cannot run
            a model.
    """
    network = Network(baseline, candidate)
    observations, kl, images = observe(network, batches(), progress=progress)
    suspects = tuple(_suspects(observations, network))
    tried = _worth_trying(observations, network)
    choices = [frozenset({place}) for place in tried] + [frozenset(suspect.places) for suspect in suspects]
    restored = restored_kl(network, batches(), choices, progress=progress)
    alone = dict(zip(tried, restored[: len(tried)], strict=True))
    layers = tuple(
        LayerError(seen.layer.name, seen.layer.op_type, seen.sqnr_db, seen.own_sqnr_db, alone.get(place))
        for place, seen in enumerate(observations)
    )
    found = [
        _finding(suspect, observations, 100.0 * (kl - left) / kl)
        for suspect, left in zip(suspects, restored[len(tried) :], strict=True)
        if kl - left >= max(_NATS, kl * _SHARE / 100.0)
    ]
    found.sort(key=lambda finding: -(finding.share or 0.0))
    mismatch = differing_metadata(baseline, candidate)
    return Diagnosis(kl, images, layers, tuple(found if mismatch is None else [mismatch, *found]))


def _suspects(observations: Sequence[Observation], network: Network) -> Iterator[_Suspect]:
    told: set[tuple[str, int]] = set()
    worst_first = sorted(
        (place for place in range(len(observations)) if network.can_restore(place)),
        key=lambda place: observations[place].own_sqnr_db,
    )
    for rule in RULES:
        seen = {}
        for place in worst_first:
            observation = observations[place]
            if (rule.concerns, place) in told or not rule.needs(observation):
                continue
            evidence = rule.check(observation, observations)
            if evidence is not None:
                seen[place] = evidence
                told.add((rule.concerns, place))
        if seen and rule.concerns == "output":
            # Ranges are chosen layer by layer: one that is a little off does not belong to one that is far off.
            limit = observations[next(iter(seen))].own_sqnr_db + _LIKE_THE_WORST_DB
            seen = {place: text for place, text in seen.items() if observations[place].own_sqnr_db <= limit}
        if seen:
            yield _Suspect(rule, tuple(seen), tuple(seen.values()))


def _worth_trying(observations: Sequence[Observation], network: Network) -> tuple[int, ...]:
    places = [
        place
        for place, seen in enumerate(observations)
        if seen.own_sqnr_db < _NEGLIGIBLE_DB and network.can_restore(place)
    ]
    return tuple(sorted(places, key=lambda place: observations[place].own_sqnr_db)[:_MOST_TRIED])


def _finding(suspect: _Suspect, observations: Sequence[Observation], share: float) -> Finding:
    rule, worst = suspect.rule, observations[suspect.places[0]].layer.name
    if len(suspect.places) == 1:
        return Finding(rule.cause, worst, suspect.evidence[0], rule.fix, share)
    evidence = f"{len(suspect.places)} {rule.several}; the worst is {worst}: {suspect.evidence[0]}"
    return Finding(rule.cause, "", evidence, rule.fix, share)
