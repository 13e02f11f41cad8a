"""The commands of docker/README.md are run with a `docker` that only writes down what it is asked."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from dockerfiles import (
    FOLDER,
    JETSON,
    KNOWN_BASES,
    NAMES,
    SUFFIX,
    TOOLKIT,
    assignments,
    copied,
    instructions,
    last_stage,
)

BLOCKS = re.compile(r"```sh\n(.*?)```", re.DOTALL)
README = (FOLDER / "README.md").read_text(encoding="utf-8")
# What docker is told by name and value; every other option of the README stands alone.
VALUED = ("--runtime", "--network", "--user", "--group-add", "--mount", "--gpus", "--build-arg", "-f", "-t")
ALONE = ("--rm",)


@dataclass(frozen=True)
class Call:
    """A call of docker: its options by name, and the words after them."""

    options: dict[str, list[str]]
    words: list[str]

    def one(self, option: str) -> str:
        (value,) = self.options[option]
        return value

    def mounts(self) -> dict[str, dict[str, str]]:
        """Return the mounts by their target."""
        found = [
            dict(part.partition("=")[::2] for part in value.split(",")) for value in self.options.get("--mount", [])
        ]
        return {mount["target"]: mount for mount in found}


def understood(words: list[str]) -> Call:
    options: dict[str, list[str]] = {}
    rest = list(words)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        assert option in VALUED + ALONE, option
        options.setdefault(option, []).append(rest.pop(0) if option in VALUED else "")
    if "-f" in options:
        # `docker build` takes options after its folder, too; the README does not.
        assert len(rest) == 1, rest
    return Call(options, rest)


def calls(folder: Path) -> dict[str, list[Call]]:
    """Run every command of the README in folder and return what docker was asked, by its first word."""
    stub = folder / "bin"
    stub.mkdir()
    log = folder / "log"
    programs = {
        "docker": f'{{ printf "%s\\0" "$@"; printf "\\n\\0"; }} >>{shlex.quote(str(log))}',
        "getent": "echo render:x:109:",
        "id": "case $1 in -u) echo 1001 ;; -g) echo 1002 ;; esac",
    }
    for name, body in programs.items():
        (stub / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (stub / name).chmod(0o755)
    for block in BLOCKS.findall(README):
        environment = {"PATH": f"{stub}{os.pathsep}{os.defpath}"}
        result = subprocess.run(
            ["dash", "-euc", block], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert (result.returncode, result.stderr) == (0, ""), block
    found: dict[str, list[Call]] = {"build": [], "run": []}
    for line in log.read_text(encoding="utf-8").split("\n\0")[:-1]:
        verb, *words = line.rstrip("\0").split("\0")
        found[verb].append(understood(words))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A space in the name: the README's quotes have to hold.
    folder = tmp_path_factory.mktemp("docker") / "a folder"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def asked(folder: Path) -> dict[str, list[Call]]:
    return calls(folder)


@pytest.fixture(scope="module")
def runs(asked: dict[str, list[Call]]) -> dict[str, Call]:
    """The run line of each Dockerfile, by the name that its image's tag ends in."""
    return {re.split(r":", call.words[0])[1]: call for call in asked["run"]}


def test_every_command_is_docker() -> None:
    commands = [line for block in BLOCKS.findall(README) for line in re.sub(r"\\\n", "", block).splitlines()]
    assert len(commands) == 2 * len(NAMES) + 1
    for command in commands:
        assert shlex.split(command)[:2] in (["docker", "build"], ["docker", "run"]), command


def test_every_dockerfile_is_built_under_the_name_it_is_run_by(
    asked: dict[str, list[Call]], runs: dict[str, Call]
) -> None:
    built = {}
    for call in asked["build"]:
        name = Path(call.one("-f")).name.removesuffix(SUFFIX)
        assert call.one("-f") == f"docker/{name}{SUFFIX}"
        assert call.words == ["." if copied(instructions(name)) else "docker"]
        built[name] = call.one("-t")
    assert sorted(built) == sorted(NAMES) == sorted(runs)
    for name, call in runs.items():
        assert call.words[0] == built[name]
        assert "--rm" in call.options


def test_other_bases_are_known_ones(asked: dict[str, list[Call]]) -> None:
    arguments = [value for call in asked["build"] for value in call.options.get("--build-arg", [])]
    assert arguments
    for argument in arguments:
        name, _, image = argument.partition("=")
        assert name == "BASE_IMAGE"
        assert image in KNOWN_BASES


@pytest.mark.parametrize("name", NAMES)
def test_no_container_is_root_or_on_the_network(name: str, runs: dict[str, Call]) -> None:
    assert runs[name].one("--user") == "1001:1002"
    assert runs[name].one("--network") == "none"


@pytest.mark.parametrize("name", JETSON)
def test_a_bundle_is_mounted_to_be_written(name: str, runs: dict[str, Call], folder: Path) -> None:
    call = runs[name]
    mount = call.mounts()["/bundle"]
    assert mount == {"type": "bind", "source": str(folder / "bundle"), "target": "/bundle"}
    assert call.one("--runtime") == "nvidia"
    assert call.words[1:] == []
    groups = ["video"] if name in ("jetson-nano", "jetson-xavier-orin-jp5") else ["video", "109"]
    assert call.options["--group-add"] == groups


@pytest.mark.parametrize("name", JETSON)
def test_what_run_sh_reads_of_the_board_is_mounted_or_linked(
    name: str, runs: dict[str, Call], repository: Path
) -> None:
    (script,) = (repository / "edgekit").glob("**/run.sh")
    text = script.read_text(encoding="utf-8")
    read = set(re.findall(r"\$root\"?(/(?:proc|etc|sys|usr)[\w./*-]*)", text))
    assert read
    root = assignments(last_stage(instructions(name)), "ENV")["EDGEKIT_ROOT"]
    mounts = runs[name].mounts()
    for path in read:
        if not path.startswith(("/sys/", "/usr/local/cuda/")):
            mount = mounts[root + path]
            assert mount["source"] == path
            assert "readonly" in mount
    assert len(mounts) == 1 + sum(not path.startswith(("/sys/", "/usr/local/cuda/")) for path in read)
    assert "/usr/src/tensorrt/bin/trtexec" in text


@pytest.mark.parametrize("name", TOOLKIT)
def test_the_toolkit_runs_a_command_that_exists_in_the_folder_it_is_started_in(
    name: str, runs: dict[str, Call], folder: Path, repository: Path
) -> None:
    call = runs[name]
    mount = call.mounts()["/work"]
    assert mount == {"type": "bind", "source": str(folder), "target": "/work"}
    assert ("--gpus" in call.options) == (name == "x86-tensorrt")
    assert (repository / "edgekit" / "cli" / f"{call.words[1]}.py").is_file()


def test_the_readme_says_what_was_not_verified() -> None:
    (paragraph,) = (part for part in README.split("\n\n") if part.startswith("**Not verified.**"))
    assert "never built" in paragraph
    assert "not checked against the registry" in " ".join(paragraph.split())


def test_the_table_has_every_dockerfile() -> None:
    assert re.findall(r"^\| `([\w-]+)\.Dockerfile`", README, re.MULTILINE) == list(NAMES)
