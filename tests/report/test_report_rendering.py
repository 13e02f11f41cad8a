"""What a person sees on the terminal."""

from __future__ import annotations

import dataclasses
import io

import pytest
from report_examples import DRIFT, LATENCY, example
from rich.console import Console

from edgekit.report import NoteLine, Report, Side, render, render_comparison
from edgekit.results import Accuracy, Drift, Latency, ModelLatency, Percentiles
from edgekit.spec import Interval


def shown(report: Report, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    render(report, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


ACCURACY = Accuracy(91.2, 99.7, 1000)
AFTER = Side("after", 951_000, Accuracy(90.9, 99.6, 1000))


def compared(
    *,
    baseline: Accuracy | None = ACCURACY,
    candidate: Side | None = AFTER,
    drift: Drift | None = DRIFT,
    latency: Latency | ModelLatency | None = LATENCY,
) -> str:
    console = Console(file=io.StringIO(), width=80)
    side = Side("before", 3_412_345, baseline)
    render_comparison(console, baseline=side, candidate=candidate, drift=drift, latency=latency)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_whole_report_at_80_columns() -> None:
    lines = [line.rstrip() for line in shown(example()).splitlines()]
    assert "\n".join(lines) == SNAPSHOT.strip("\n")


SNAPSHOT = """
                 FP32       int8   change
───────────────────────────────────────────────────────────────
size          3.41 MB    0.95 MB   3.59x smaller
top-1         91.20 %    90.90 %   -0.30 pp [-0.92, +0.31]
top-5         99.70 %    99.60 %   -0.10 pp
agreement                          98.40 % [97.42, 99.01]
KL                                 0.0021 nats [0.0018, 0.0025]
SQNR                               28.1 dB [27.8, 28.4]
p50 a frame   7.01 ms   0.800 ms
p90 a frame   7.40 ms   0.950 ms
p99 a frame   9.10 ms    1.20 ms
speed-up                           8.77x [8.50, 8.91]

Accuracy: on 1,000 images
Time: 200 frames of each in turns, batch 1, 2 threads, onnxruntime 1.31.1
In brackets: 95 % confidence interval
Left in float: 3 of 4 nodes
    2  onnxruntime has no integer kernel for it
    1  stands between two float nodes
fold: 18 batch normalisations folded into convolutions
"""


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_is_wider_than_the_console_and_none_has_colour_codes(width: int) -> None:
    text = shown(example(), width)
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) <= width


def test_columns_carry_the_names_that_they_were_given() -> None:
    head = compared().splitlines()[0].split()
    assert head == ["before", "after", "change"]


def test_missing_labels_are_said() -> None:
    unlabelled = Accuracy(None, None, 1000)
    text = compared(
        baseline=unlabelled,
        candidate=Side("after", None, unlabelled),
        drift=dataclasses.replace(DRIFT, top1_delta_pp=None),
    )
    assert "Accuracy: not measured, the 1,000 evaluation images have no labels" in text
    assert " pp" not in text
    assert "98.40 % [97.42, 99.01]" in text


def test_missing_images_and_times_are_said() -> None:
    text = compared(baseline=None, candidate=Side("after", 951_000, None), drift=None, latency=None)
    assert "Accuracy: not measured, there were no evaluation images" in text
    assert "Drift: not measured, after was not evaluated beside before" in text
    assert "Time: not measured" in text
    assert "confidence" not in text


def test_top5_left_out_for_few_classes_is_said() -> None:
    text = compared(baseline=Accuracy(91.2, None, 10), candidate=Side("after", 1, Accuracy(90.0, None, 10)))
    assert "top-5: not measured, it says nothing with 5 classes or fewer" in text


def test_one_model_alone_has_no_change_column() -> None:
    alone = ModelLatency(Percentiles(7.0, 7.4, 9.1), 1, "onnxruntime 1.31.1", 200)
    text = compared(candidate=None, drift=None, latency=alone)
    assert text.splitlines()[0].split() == ["before"]
    assert "Time: 200 frames, batch 1, 1 thread, onnxruntime 1.31.1" in text
    assert "Drift" not in text


def test_identical_models_are_called_so() -> None:
    same = dataclasses.replace(DRIFT, sqnr_db=Interval(150, 150, 150), kl=Interval(0, 0, 0))
    assert "identical logits" in compared(drift=same)


def test_a_larger_candidate_is_not_called_smaller() -> None:
    assert "2.00x larger" in compared(candidate=Side("after", 6_824_690, None))


def test_markup_and_control_characters_of_a_foreign_report_are_shown_as_text() -> None:
    hostile = example().model_copy(update={"notes": (NoteLine(source="[red]x[/]", text="a\x1b[2Jb\rc"),)})
    assert "[red]x[/]: a?[2Jb?c" in shown(hostile)
