"""A stand-in for the package tensorrt in the style of 8.2, 10 or 11: it proves the flow of a program, no numbers.

STANDIN_VERSION chooses the version; what that version lacks is absent here too. STANDIN_TROUBLE is what goes wrong.
The network it pretends to run copies the first values of the input.
"""

import importlib
import json
import os
import sys
import time
from types import SimpleNamespace
from typing import Any

cuda = importlib.import_module("pycuda.driver")
__version__ = os.environ["STANDIN_VERSION"]
MAJOR = int(__version__.split(".")[0])
TROUBLE = os.environ.get("STANDIN_TROUBLE", "")
float32, float16 = "DataType.FLOAT", "DataType.HALF"
MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
ProfilingVerbosity = SimpleNamespace(DETAILED="detailed")
LayerInformationFormat = SimpleNamespace(JSON="json")
NetworkDefinitionCreationFlag = SimpleNamespace(**{"EXPLICIT_BATCH": 0} if MAJOR < 11 else {})
if MAJOR >= 10:
    NetworkDefinitionCreationFlag.STRONGLY_TYPED = 1
BuilderFlag = SimpleNamespace(**{"FP16": "FP16", "INT8": "INT8"} if MAJOR < 11 else {})


class Logger:
    INFO, ERROR = 3, 1

    def __init__(self, least: int) -> None:
        self.least = least

    def error(self, text: str) -> None:
        print(f"[11/24/2026-10:00:00] [TRT] [E] {text}", file=sys.stderr)


class Config:
    def __init__(self) -> None:
        self.flags: list[str] = []

    def set_flag(self, flag: str) -> None:
        self.flags.append(flag)

    if MAJOR >= 10:

        def set_memory_pool_limit(self, pool: str, size: int) -> None:
            self.memory = [pool, size]

    def described(self) -> "dict[str, Any]":
        memory = self.memory if MAJOR >= 10 else self.__dict__["max_workspace_size"]
        return {"flags": self.flags, "memory": memory, "verbosity": self.__dict__["profiling_verbosity"]}


class Builder:
    def __init__(self, logger: Logger) -> None:
        self.logger = logger

    def create_network(self, flags: int) -> int:
        return flags

    def create_builder_config(self) -> Config:
        return Config()

    def build_serialized_network(self, network: int, config: Config) -> "bytes | None":
        if TROUBLE == "hang":
            time.sleep(60)
        if TROUBLE == "killed":
            os.kill(os.getpid(), 9)
        if TROUBLE == "memory":
            self.logger.error("2: OutOfMemory (no further information)")
            return None
        return json.dumps({"network": network, **config.described()}).encode()


class OnnxParser:
    num_errors = 1

    def __init__(self, network: int, logger: Logger) -> None:
        pass

    def parse(self, content: bytes) -> bool:
        return TROUBLE != "node"

    def get_error(self, index: int) -> Any:
        return SimpleNamespace(desc=lambda: "While parsing node number 3 [HardSwish]")


class Context:
    def __init__(self) -> None:
        self.tensors: dict[str, int] = {}

    def _copy(self, source: int, target: int) -> bool:
        cuda.MEMORY[target][:] = cuda.MEMORY[source][: len(cuda.MEMORY[target])]
        return TROUBLE != "engine"

    if MAJOR < 10:

        def execute_async_v2(self, bindings: "list[int]", stream_handle: int) -> bool:
            return self._copy(bindings[1], bindings[0])

    else:

        def set_tensor_address(self, name: str, memory: int) -> None:
            self.tensors[name] = memory

        def execute_async_v3(self, stream_handle: int) -> bool:
            return self._copy(self.tensors["input"], self.tensors["output"])


class Engine:
    def create_execution_context(self) -> Context:
        return Context()

    def create_engine_inspector(self) -> Any:
        return SimpleNamespace(get_engine_information=lambda form: json.dumps({"Layers": ["conv 1"]}))

    if MAJOR < 10:
        num_bindings = 2

        def get_binding_index(self, name: str) -> int:
            # Not in the order of the bundle, as bindings need not be.
            return ["output", "input"].index(name)

        def get_binding_dtype(self, index: int) -> str:
            return float16 if TROUBLE == "half" else float32

    else:

        def get_tensor_dtype(self, name: str) -> str:
            return float16 if TROUBLE == "half" else float32


class Runtime:
    def __init__(self, logger: Logger) -> None:
        pass

    def deserialize_cuda_engine(self, content: bytes) -> "Engine | None":
        return None if TROUBLE == "unreadable" else Engine()
