"""Timing models in turns, below all stages: what else runs on the machine hits every one of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import onnx

ROUNDS, FRAMES = 8, 4


def frame_seconds(
    models: Sequence[onnx.ModelProto],
    frames: Sequence[npt.NDArray[np.float32]],
    *,
    threads: int = 0,
    progress: Callable[[int], None] = lambda amount: None,
) -> list[float]:
    """Return the seconds of one frame through each model: the median of the fastest frame of each turn.

    Args:
        models: Models with one input that counts, the first.
        frames: What each of them is given.
        threads: Threads of onnxruntime; 0 takes all cores.
        progress: Called when a model is ready to run.
    """
    import onnxruntime

    sessions = []
    for model in models:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.force_spinning_stop", "1")
        serialized = model.SerializeToString()
        sessions.append(onnxruntime.InferenceSession(serialized, options, providers=["CPUExecutionProvider"]))
        progress(1)
    feeds = [{session.get_inputs()[0].name: frame} for session, frame in zip(sessions, frames, strict=True)]
    fastest: list[list[float]] = [[] for _ in sessions]
    for _ in range(ROUNDS):
        for index, session in enumerate(sessions):
            turn = []
            for _ in range(FRAMES):
                started = time.perf_counter()
                session.run(None, feeds[index])
                turn.append(time.perf_counter() - started)
            fastest[index].append(min(turn))
    return [statistics.median(times) for times in fastest]
