"""What a person sees of models timed in turns."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

from rich.console import Console

from edgekit.report import render_bench
from edgekit.results import (
    BENCH_SCHEMA,
    BatchThroughput,
    Bench,
    BenchedModel,
    MachineState,
    NoiseFloor,
    Percentiles,
    WarmUp,
)
from edgekit.spec import Interval

MACHINE = MachineState(
    cpu="AMD EPYC",
    cores=2,
    governor="performance",
    frequency_mhz=(2445.4, 2450.0),
    load_average=(0.25, 0.91),
    throttled=0,
    steal_percent=0.12,
    versions={"onnxruntime": "1.31.1"},
)
FIRST = BenchedModel(
    name="out/model.fp32.onnx",
    runtime="onnxruntime 1.31.1",
    threads=2,
    size_bytes=3_143_549,
    input_size=96,
    warm_up=WarmUp(15, True),
    frame_ms=Percentiles(1.42, 1.9, 2.6),
    samples_ms=(1.42,) * 400,
    throughput=(BatchThroughput(1, Percentiles(1.42, 1.9, 2.6), 704.2), BatchThroughput(8, Percentiles(8, 9, 9), 1000)),
    peak_memory_bytes=12_930_000,
    speedup=None,
    different=None,
)


def beside(name: str, speedup: Interval, different: bool, **others: Any) -> BenchedModel:
    return dataclasses.replace(FIRST, name=name, speedup=speedup, different=different, **others)


FASTER = beside("out/model.int8.onnx", Interval(1.5, 1.47, 1.53), True, size_bytes=928_655)
EQUAL = beside("out/again.onnx", Interval(1.012, 0.991, 1.02), False, throughput=(), peak_memory_bytes=None)
SLOWER = beside("out/slow.onnx", Interval(0.8, 0.78, 0.82), True)


def bench(*models: BenchedModel, machine: MachineState = MACHINE, notes: tuple[str, ...] = ()) -> Bench:
    noise = NoiseFloor(Interval(0.998, 0.981, 1.013), 0.981, 1.019)
    return Bench(BENCH_SCHEMA, "0.1.0", "edgekit bench …", models, noise, machine, notes)


def shown(given: Bench) -> str:
    console = Console(file=io.StringIO(), width=100)
    render_bench(given, console)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def test_models_are_columns_and_what_is_inside_the_noise_is_no_difference() -> None:
    assert shown(bench(FIRST, FASTER, EQUAL)) == SNAPSHOT.strip("\n")


SNAPSHOT = """
                      model.fp32.onnx   model.int8.onnx   again.onnx
────────────────────────────────────────────────────────────────────
size                          3.14 MB           0.93 MB      3.14 MB
peak memory                  12.93 MB          12.93 MB            -
p50 a frame                   1.42 ms           1.42 ms      1.42 ms
p90 a frame                   1.90 ms           1.90 ms      1.90 ms
p99 a frame                   2.60 ms           2.60 ms      2.60 ms
images/s at batch 1               704               704            -
images/s at batch 8             1,000             1,000            -
speed-up                            -             1.50x        1.01x

model.int8.onnx beside model.fp32.onnx: faster, 1.500x [1.470, 1.530]
again.onnx beside model.fp32.onnx: no difference measured (1.012x [0.991, 1.020])
Noise floor: model.fp32.onnx beside itself 0.998x [0.981, 1.013]; 0.981x to 1.019x is noise
In brackets: 95 % confidence interval
Time: 400 frames of each in turns, batch 1, 2 threads, onnxruntime 1.31.1
Machine: AMD EPYC, 2 cores, 2445 to 2450 MHz, governor performance, load 0.2 to 0.9, throttled 0
times, 0.1 % stolen
"""


def test_a_slower_model_is_called_slower() -> None:
    assert "slow.onnx beside model.fp32.onnx: slower, 0.800x [0.780, 0.820]" in shown(bench(FIRST, SLOWER))


def test_one_model_alone_has_no_speed_up() -> None:
    text = shown(bench(dataclasses.replace(FIRST, throughput=(), peak_memory_bytes=None)))
    assert "speed-up" not in text
    assert "images/s" not in text
    assert "peak memory" not in text
    assert "Noise floor: model.fp32.onnx beside itself" in text


def test_files_of_one_name_are_told_apart_by_their_folders() -> None:
    text = shown(bench(FIRST, beside("other/model.fp32.onnx", Interval(1, 1, 1), False)))
    assert "other/model.fp32.onnx beside out/model.fp32.onnx" in text


def test_what_the_system_does_not_tell_is_said() -> None:
    silent = MachineState("ARM", 1, None, None, None, None, None, {})
    assert "Machine: ARM, 1 core, governor not told, throttling not told" in shown(bench(FIRST, machine=silent))


def test_notes_come_last_and_names_command_no_terminal() -> None:
    text = shown(bench(FIRST, beside("evil\x1b[2J.onnx", Interval(1, 1, 1), False), notes=("the machine was busy",)))
    assert text.splitlines()[-1] == "note: the machine was busy"
    assert "\x1b" not in text
    assert "evil?[2J.onnx" in text
