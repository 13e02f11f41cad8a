"""What a report says about the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.machine import parse_cpuinfo
from edgekit.report import environment

X86 = """processor\t: 0
model name\t: A  Xeon(R) CPU @ 2.80GHz
flags\t\t: fpu avx2 avx512f avx512_vnni amx_int8

processor\t: 1
model name\t: A  Xeon(R) CPU @ 2.80GHz
flags\t\t: fpu avx2 avx512f avx512_vnni amx_int8
"""
ARM = """processor\t: 0
Features\t: fp asimd asimddp i8mm
CPU part\t: 0xd42

processor\t: 1
Features\t: fp asimd asimddp
CPU part\t: 0xd05
"""


def test_an_x86_is_named_with_its_int8_instructions() -> None:
    assert parse_cpuinfo(X86) == ("A Xeon(R) CPU @ 2.80GHz", ("avx512_vnni", "amx_int8"))


def test_an_instruction_counts_only_when_every_core_has_it() -> None:
    assert parse_cpuinfo(ARM) == ("", ("dotprod",))


def test_without_cpuinfo_nothing_is_claimed() -> None:
    assert parse_cpuinfo("") == ("", ())


def test_the_versions_are_those_installed() -> None:
    found = environment()
    assert found.python == platform.python_version()
    assert found.torch == importlib.metadata.version("torch")
    assert found.onnxruntime == importlib.metadata.version("onnxruntime")
    assert found.cores == len(os.sched_getaffinity(0))
    assert found.cpu


def test_a_package_that_is_not_there_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert environment().torch is None


def test_neither_host_name_nor_paths_are_told() -> None:
    text = environment().model_dump_json()
    assert socket.gethostname() not in text
    assert str(Path.home()) not in text
    assert str(Path.cwd()) not in text


def test_looking_at_the_environment_imports_none_of_the_packages() -> None:
    code = (
        "import sys; from edgekit.report import environment; environment();"
        "sys.exit(bool({'torch', 'onnx', 'onnxruntime', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0
