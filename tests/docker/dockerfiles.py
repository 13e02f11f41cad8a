"""Reads the Dockerfiles of this repository: their instructions, stages and bases."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent.parent / "docker"
SUFFIX = ".Dockerfile"
JETSON = ("jetson-nano", "jetson-xavier-orin-jp5", "jetson-orin-jp6", "jetson-thor-jp7")
TOOLKIT = ("x86-tensorrt", "cpu")
NAMES = (*JETSON, *TOOLKIT)


@dataclass(frozen=True)
class Base:
    """A tag that exists according to what it was read in, and what the Python of that image is."""

    python: tuple[int, int]
    source: str


# Only these may be built on. Read as text in public files; not checked against the registry.
KNOWN_BASES = {
    "nvcr.io/nvidia/l4t-base:r32.7.1": Base((3, 6), "https://github.com/dusty-nv/jetson-inference/issues/1603"),
    "nvcr.io/nvidia/l4t-tensorrt:r8.5.2.2-devel": Base((3, 8), "public Dockerfiles"),
    "nvcr.io/nvidia/l4t-tensorrt:r8.6.2-devel": Base((3, 10), "public Dockerfiles"),
    "nvcr.io/nvidia/l4t-tensorrt:r10.3.0-devel": Base((3, 10), "public Dockerfiles"),
    "nvcr.io/nvidia/tensorrt:25.08-py3": Base((3, 12), "https://github.com/OE4T/meta-tegra/issues/2120"),
    "python:3.11-slim-bookworm": Base((3, 11), "public Dockerfiles"),
}


@dataclass(frozen=True)
class Instruction:
    word: str
    value: str

    @property
    def exec_form(self) -> list[str] | None:
        """The words of `["a", "b"]`; None for anything else."""
        try:
            words = json.loads(self.value)
        except ValueError:
            return None
        return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None


def path_of(name: str) -> Path:
    return FOLDER / f"{name}{SUFFIX}"


def parse(text: str) -> list[Instruction]:
    """Return the instructions with their continued lines joined and the comments gone, as Docker does it."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", "", "\n".join(lines))
    pairs = (line.split(maxsplit=1) for line in joined.splitlines())
    return [Instruction(word.upper(), value) for word, value in pairs]


def instructions(name: str) -> list[Instruction]:
    return parse(path_of(name).read_text(encoding="utf-8"))


def values(found: list[Instruction], word: str) -> list[str]:
    return [one.value for one in found if one.word == word]


def bases(found: list[Instruction]) -> list[str]:
    """Return the image of each FROM, with the ARGs before the first one put in."""
    first = next(index for index, one in enumerate(found) if one.word == "FROM")
    defaults = dict(value.split("=", 1) for value in values(found[:first], "ARG"))
    images = (value.split()[0] for value in values(found, "FROM"))
    return [re.sub(r"\$\{(\w+)\}", lambda match: defaults[match[1]], image) for image in images]


def last_stage(found: list[Instruction]) -> list[Instruction]:
    start = max(index for index, one in enumerate(found) if one.word == "FROM")
    return found[start:]


def assignments(found: list[Instruction], word: str) -> dict[str, str]:
    """Return what ENV or LABEL instructions set."""
    return dict(pair.split("=", 1) for value in values(found, word) for pair in shlex.split(value))


def copied(found: list[Instruction]) -> list[str]:
    """Return what COPY takes from the build context."""
    words = (shlex.split(value) for value in values(found, "COPY"))
    return [source for line in words if not line[0].startswith("--from=") for source in line[:-1]]
