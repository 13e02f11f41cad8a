"""A stand-in for pycuda.driver on the memory of the host: it proves the flow of a program, no numbers."""

import os
from types import SimpleNamespace
from typing import Any

import numpy as np

MEMORY: "dict[int, Any]" = {}
CONTEXTS: "list[Context]" = []
event_flags = SimpleNamespace(BLOCKING_SYNC=1)


def check() -> None:
    if not CONTEXTS:
        raise RuntimeError("cuda call without a context")


class Context:
    def pop(self) -> None:
        CONTEXTS.remove(self)


class Device:
    ready = False

    def __init__(self, number: int) -> None:
        if not Device.ready:
            raise RuntimeError("cuInit was not called")

    def make_context(self) -> Context:
        CONTEXTS.append(Context())
        return CONTEXTS[-1]

    def compute_capability(self) -> "tuple[int, int]":
        return 5, 3


class Error(Exception):
    pass


def init() -> None:
    if os.environ.get("STANDIN_TROUBLE") == "gpu":
        raise Error("cuInit failed: no CUDA-capable device is detected")
    Device.ready = True


def pagelocked_empty(shape: "tuple[int, ...]", dtype: Any) -> Any:
    check()
    return np.empty(shape, dtype)


def mem_alloc(size: int) -> int:
    check()
    address = 1000 + len(MEMORY)
    MEMORY[address] = np.zeros(size // 4, np.float32)
    return address


def memcpy_htod_async(target: int, source: Any, stream: Any) -> None:
    MEMORY[target][:] = source.ravel()


def memcpy_dtoh_async(target: Any, source: int, stream: Any) -> None:
    target[...] = MEMORY[source].reshape(target.shape)


class Stream:
    handle = 7

    def __init__(self) -> None:
        check()
        self.now = 0.0


class Event:
    def __init__(self, flags: int) -> None:
        assert flags == event_flags.BLOCKING_SYNC
        self.at = 0.0

    def record(self, stream: Stream) -> None:
        stream.now += 0.5
        self.at = stream.now

    def synchronize(self) -> None:
        check()

    def time_till(self, other: "Event") -> float:
        return other.at - self.at
