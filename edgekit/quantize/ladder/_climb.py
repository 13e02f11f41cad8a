"""The order of the rungs, and what is kept."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import torch

from edgekit.quantize._flavour import Flavour
from edgekit.quantize._graph import editable
from edgekit.quantize._plan import Plan, canonical, plan, tensors_to_calibrate
from edgekit.quantize._static import quantize_static
from edgekit.quantize.ladder import _precision as precision
from edgekit.quantize.ladder._equalize import equalize
from edgekit.quantize.ladder._measure import Distance, answers, distance, observe
from edgekit.quantize.ladder._network import Network
from edgekit.quantize.ladder._reconstruct import Reconstruct, correct_bias
from edgekit.quantize.ladder._walk import Walk
from edgekit.quantize.passes import canonicalise
from edgekit.spec import EQUALIZED_KEY, Effort, Note, Range, Rung
from edgekit.turns import frame_seconds

HELD_OUT_SHARE = 5
FEWEST_IMAGES = 10
MOST_COMPARED = 6
COMPARED_IMAGES = 32
_LADDER: Mapping[Effort, tuple[str, ...]] = MappingProxyType({
    "fast": (),
    "balanced": ("ranges", "equalize", "bias", "precision", "reconstruct"),
    "best": ("ranges", "equalize", "bias", "precision", "reconstruct"),
})  # fmt: skip
_THOROUGHNESS: Mapping[Effort, float] = MappingProxyType({"fast": 1.0, "balanced": 1.0, "best": 4.0})

StartProgress = Callable[[str, int | None], Callable[[int], None]]


@dataclasses.dataclass(frozen=True)
class Climbed:
    """Where the ladder ended.

    Attributes:
        model: FP32 model that the plan is for: the given one, or one whose channels were equalized.
        plan: The plan.
        rungs: What each rung did and gained.
        notes: What was out of the ordinary.
    """

    model: onnx.ModelProto
    plan: Plan
    rungs: tuple[Rung, ...]
    notes: tuple[Note, ...]


@dataclasses.dataclass(frozen=True)
class _State:
    model: onnx.ModelProto
    plan: Plan
    ranges: Mapping[str, Range]
    keep_float: Mapping[str, str]


def climb(
    model: onnx.ModelProto,
    ranges: Mapping[str, Mapping[str, Range]],
    images: npt.NDArray[np.float32],
    flavour: Flavour,
    *,
    effort: Effort = "balanced",
    max_drop: float | None = None,
    mixed: bool = True,
    seed: int = 0,
    progress: StartProgress = lambda title, total: lambda amount: None,
) -> Climbed:
    """Quantize a model as well as the effort allows.

    A fifth of the images is held out: a rung is kept only if it brings the answers for those nearer to the
    float ones.

    Args:
        model: FP32 model.
        ranges: By method, the range of each tensor of `tensors_to_calibrate(model, flavour)`; the first is the start.
        images: Calibration images, float32 (N, C, H, W).
        flavour: What the target wants.
        effort: `fast` takes the first ranges and rounds; `balanced` and `best` climb.
        max_drop: Stop as soon as no more than this percentage of the images changes its best class.
        mixed: Layers may stay in float where that is measured to be faster, or nearer and no slower. What is chosen
            by time can differ between two runs whose times do; everything else follows from the inputs and the seed.
        seed: Of what is drawn at random.
        progress: Starts a progress bar.

    Raises:
        QuantizationError: As `plan`.
    """
    start = next(iter(ranges.values()))
    state = _State(model, plan(model, start, flavour), start, {})
    if effort == "fast" or len(images) < max(FEWEST_IMAGES, HELD_OUT_SHARE * _fixed_batch(model)):
        notes = () if effort == "fast" else (Note("ladder", _too_few(len(images))),)
        return Climbed(model, state.plan, (), notes)
    with torch.inference_mode():
        return _Climb(state, ranges, images, flavour, effort, max_drop, mixed, seed, progress).run()


def _fixed_batch(model: onnx.ModelProto) -> int:
    """Return how many images the model takes at once, 1 when it takes any number."""
    constants = {initializer.name for initializer in model.graph.initializer}
    image_input = next(value for value in model.graph.input if value.name not in constants)
    dimensions = image_input.type.tensor_type.shape.dim
    return max(int(dimensions[0].dim_value) if dimensions else 0, 1)


def _too_few(count: int) -> str:
    return f"{count} images are too few to climb and to check on: the weights were rounded without data"


class _Climb:
    def __init__(
        self,
        state: _State,
        ranges: Mapping[str, Mapping[str, Range]],
        images: npt.NDArray[np.float32],
        flavour: Flavour,
        effort: Effort,
        max_drop: float | None,
        mixed: bool,
        seed: int,
        progress: StartProgress,
    ) -> None:
        tensor = torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
        self.flavour = flavour
        network = self._network(state)
        self.chunk = _fixed_batch(state.model)
        tensor = tensor[: len(tensor) // self.chunk * self.chunk]
        held_out = torch.arange(len(tensor)) // self.chunk % HELD_OUT_SHARE == HELD_OUT_SHARE - 1
        self.fit, self.check = tensor[~held_out], tensor[held_out]
        self.frame = images[: self.chunk]
        self.compared_model: onnx.ModelProto | None = None
        self.compared = torch.zeros(0)
        self.state, self.ranges = state, ranges
        self.effort, self.max_drop, self.mixed, self.seed, self.progress = effort, max_drop, mixed, seed, progress
        self.reference = answers(network, self.check)
        self.fit_reference = answers(network, self.fit) if max_drop is not None else None
        self.best = distance(self.reference, answers(network, self.check, state.plan))
        self.rungs = [Rung("round", self.best.kl, self.best.agreement, True, 0.0, "per-channel weights, sums kept")]

    def run(self) -> Climbed:
        rungs = {
            "ranges": self._ranges,
            "equalize": self._equalize,
            "bias": self._bias,
            "precision": self._precision,
            "reconstruct": self._reconstruct,
        }
        for name in _LADDER[self.effort]:
            if self._reached():
                break
            started = time.monotonic()
            candidate, what = rungs[name]()
            self._judge(name, candidate, what, started)
        return Climbed(self.state.model, self.state.plan, tuple(self.rungs), ())

    def _judge(self, name: str, candidate: _State | None, what: str, started: float) -> None:
        if candidate is None:
            self.rungs.append(Rung(name, self.best.kl, self.best.agreement, False, time.monotonic() - started, what))
            return
        reached = self._distance(candidate)
        kept = reached.kl < self.best.kl
        self.rungs.append(Rung(name, reached.kl, reached.agreement, kept, time.monotonic() - started, what))
        if kept:
            self.state, self.best = candidate, reached

    def _distance(self, state: _State) -> Distance:
        return distance(self.reference, answers(self._network(state), self.check, state.plan))

    def _reached(self) -> bool:
        """Whether no more images than `max_drop` percent changed their best class: the drop cannot be larger."""
        if self.max_drop is None or self.fit_reference is None:
            return False
        network = self._network(self.state)
        logits = torch.cat([answers(network, part, self.state.plan) for part in (self.fit, self.check)])
        return 100 - distance(torch.cat([self.fit_reference, self.reference]), logits).agreement <= self.max_drop

    def _network(self, state: _State) -> Network:
        graph, _ = canonical(state.model, self.flavour, state.keep_float)
        return Network(graph)

    def _ranges(self) -> tuple[_State | None, str]:
        candidates = {
            method: dataclasses.replace(self.state, plan=plan(self.state.model, found, self.flavour), ranges=found)
            for method, found in list(self.ranges.items())[1:]
        }
        if not candidates:
            return None, "one method was given"
        distances = {method: self._fit_distance(state) for method, state in candidates.items()}
        method = min(distances, key=distances.__getitem__)
        return candidates[method], f"ranges by {method}, the nearest of {len(self.ranges)} methods"

    def _fit_distance(self, state: _State) -> float:
        """Compare on a part of the images that are not held out: those are for the judge alone."""
        network = self._network(state)
        part = self.fit[:: max(1, len(self.fit) // max(COMPARED_IMAGES, self.chunk))]
        part = part[: len(part) // self.chunk * self.chunk]
        if state.model is not self.compared_model:
            # What float answers depends on the model alone, and several plans of one model are compared in a row.
            self.compared_model, self.compared = state.model, answers(network, part)
        return distance(self.compared, answers(network, part, state.plan)).kl

    def _equalize(self) -> tuple[_State | None, str]:
        copy = editable(self.state.model)
        canonicalise(copy.graph)
        network = Network(copy.graph)
        values = {value.name or "" for node in copy.graph for value in node.outputs}
        observed = observe(network, self.fit, values)
        (note,) = equalize(copy.graph, observed.magnitudes)
        copy.metadata_props[EQUALIZED_KEY] = "channels are scaled; compare single tensors channel by channel"
        model = ir.to_proto(copy)
        tensors = tensors_to_calibrate(model, self.flavour)
        ranges = observe(self._network(dataclasses.replace(self.state, model=model)), self.fit, tensors).ranges
        made = plan(model, ranges, self.flavour)
        return _State(model, made, ranges, self.state.keep_float), note.text

    def _bias(self) -> tuple[_State | None, str]:
        made = self._walk("correcting biases", self.state, correct_bias)
        return dataclasses.replace(self.state, plan=made), f"{len(made.biases)} biases moved by the mean error"

    def _precision(self) -> tuple[_State | None, str]:
        """Leave in float what is slower in int8, or costs more accuracy than it saves time."""
        if not self.mixed:
            return None, "every layer is int8, as asked"
        timed = self.flavour.absorbs  # other flavours run elsewhere, so their time cannot be told here
        found = precision.candidates(*canonical(self.state.model, self.flavour), timed=timed)
        states = [self._with_float({}), *(self._with_float(nodes) for nodes in found)]
        if timed:
            states = self._fast(states)
        if states[0].keep_float == {} and self.best.kl < precision.CLOSE_ENOUGH:
            return None, f"every layer is int8: {self.best.kl:.1e} nats are close enough, and no mix is faster"
        advance = self.progress("choosing precisions", len(states))
        distances = []
        for state in states:
            distances.append(self._fit_distance(state))
            advance(1)
        chosen = states[precision.nearest(distances)]
        if not chosen.keep_float:
            return None, "every layer is int8: a mix with float would be slower, or hardly nearer"
        if any(rung.name == "bias" and rung.kept for rung in self.rungs):
            chosen = dataclasses.replace(chosen, plan=self._walk("correcting biases", chosen, correct_bias))
        count = len(chosen.keep_float)
        total = count + len(chosen.plan.weights)
        return chosen, f"{count} of {total} layers stay in float: {'measured faster or nearer' if timed else 'nearer'}"

    def _with_float(self, keep_float: Mapping[str, str]) -> _State:
        made = plan(self.state.model, self.state.ranges, self.flavour, keep_float)
        return dataclasses.replace(self.state, plan=made, keep_float=keep_float)

    def _fast(self, states: list[_State]) -> list[_State]:
        advance = self.progress("timing precisions", len(states))
        models = [quantize_static(state.model, state.plan)[0] for state in states]
        times = frame_seconds(models, [self.frame] * len(models), progress=advance)
        fast = precision.fast_ones(times)
        # All of them would take long to tell apart by distance: the ends of the list and a few between.
        step = max(1, len(fast) // MOST_COMPARED)
        return [states[index] for index in fast[::step]]

    def _reconstruct(self) -> tuple[_State | None, str]:
        fresh = plan(self.state.model, self.state.ranges, self.flavour, self.state.keep_float)
        correct = Reconstruct(self.seed, _THOROUGHNESS[self.effort])
        made = self._walk("reconstructing", dataclasses.replace(self.state, plan=fresh), correct)
        return (
            dataclasses.replace(self.state, plan=made),
            f"rounding and biases of {len(made.weights)} layers chosen for what they read",
        )

    def _walk(self, title: str, state: _State, correct: Callable[..., Plan]) -> Plan:
        advance = self.progress(title, len(state.plan.weights))
        return Walk(self._network(state), self.fit).run(state.plan, correct, lambda: advance(1))
