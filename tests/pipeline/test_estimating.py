"""Estimates of whole models: their layers, the anchors that ship, and what the command says."""

from __future__ import annotations

import json

import pytest

from edgekit.cli._main import run
from edgekit.models import FAMILIES, Overrides, build, profile
from edgekit.pipeline.estimating import costs_of, estimate_for, refitted
from edgekit.pipeline.sources import open_source
from edgekit.spec import ModelSpec
from edgekit.targets import layer_costs, load_estimator


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_profile_and_the_exported_graph_cost_the_same_layer_by_layer(architecture: str) -> None:
    spec = ModelSpec(architecture, width=0.25, num_classes=10, input_size=64)
    model = open_source(architecture, Overrides(width=0.25, num_classes=10, input_size=64), None).model
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.value_info[:]
    from_graph = layer_costs(model)
    from_profile = costs_of(profile(build(spec), spec.input_size))
    assert len(from_profile) > 20
    numbers = [[(cost.macs, cost.inputs, cost.outputs, cost.weights) for cost in costs]
               for costs in (from_profile, from_graph)]  # fmt: skip
    assert numbers[0] == numbers[1]


def test_the_estimator_that_ships_is_what_its_anchors_give_now() -> None:
    stored = load_estimator()
    for family, fitted in zip(stored.families, refitted(stored).families, strict=True):
        for field in ("bandwidth_share", "compute_share", "launch_us"):
            assert getattr(fitted, field) == pytest.approx(getattr(family, field), rel=0.02)
        for before, after in zip(family.anchors, fitted.anchors, strict=True):
            assert after.estimated_ms == pytest.approx(before.estimated_ms, rel=0.02)
            assert after.left_out_ms == pytest.approx(before.left_out_ms, rel=0.02)
            assert (after.measured_ms, after.source) == (before.measured_ms, before.source)


def test_a_claim_is_placed_on_the_estimate() -> None:
    """MobileNetV1 0.5 in 3 ms on a Nano: the peaks allow it, what others published of such devices does not."""
    cost = profile(build(ModelSpec("mobilenet_v1", width=0.5)), 224)
    found = estimate_for(cost, "jetson-nano")
    assert (found.precision, len(found.layers), len(found.anchors)) == ("fp16", 28, 9)
    assert found.total_ms == pytest.approx(sum(layer.ms for layer in found.layers))
    assert 3 < found.total_ms / found.factor < found.total_ms < 10
    assert estimate_for(cost, "jetson-nano", "fp32").total_ms > found.total_ms
    assert estimate_for(cost, "jetson-orin-nano", "int8").total_ms < found.total_ms


def test_the_command_shows_each_layer_and_says_that_it_is_an_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profile", "--target", "jetson-nano"]) == 0
    out = capsys.readouterr().out
    assert "est. ms" in out
    assert "estimated, not measured: " in out
    assert "give or take a factor of 1." in out
    assert "mobilenet_v1 0.25/128  jetson-tx2   fp16" in out
    assert run(["profile", "--target", "jetson-orin-nano", "--precision", "int8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["estimate"]
    assert (found["is_an_estimate"], found["precision"], found["factor"]) == (True, "int8", None)
    assert found["total_ms"] == pytest.approx(sum(layer["ms"] for layer in found["layers"]))
    assert found["anchors"][0]["source"].startswith("github.com/")


def test_the_command_says_what_nothing_was_fitted_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profile", "--target", "jetson-orin-nano", "--precision", "int8"]) == 0
    out = capsys.readouterr().out
    assert "too few published times of such devices (1) to say how far off" in out
    assert "no time in INT8 was fitted" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "jetson-mars"], "EK002 --target: there is no target 'jetson-mars'"),
        (["--target", "cpu"], "EK731 cpu: the card does not state its memory bandwidth"),
        (["--target", "jetson-nano", "--precision", "int4"], "EK001 --precision: 'int4' is not known"),
        (["--target", "jetson-nano", "--estimator", "none.toml"], "EK732 none.toml: the file cannot be read"),
    ],
)
def test_bad_input_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profile", *words]) == 2
    assert message in capsys.readouterr().err
