"""The Dockerfiles keep the rules, and those of their steps that need neither root nor a network do what they say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from dockerfiles import (
    FOLDER,
    JETSON,
    KNOWN_BASES,
    NAMES,
    SUFFIX,
    TOOLKIT,
    Instruction,
    assignments,
    bases,
    copied,
    instructions,
    last_stage,
    parse,
    path_of,
    values,
)

HADOLINT = ("--no-color", "--disable-ignore-pragma", "--config", os.devnull, "--failure-threshold", "style")
# Read as not existing, or never read anywhere as existing.
REFUSED = ("l4t-base:r35.4.1", "l4t-tensorrt:r8.5.2.2-runtime", "l4t-jetpack:r35.6")


def tool(name: str) -> str:
    """Return where pip put a program of the `test` extra; without it these tests fail."""
    found = shutil.which(name, path=os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"])))
    assert found, f"{name} is missing: install the test extra"
    return found


def sh(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["dash", "-euc", script], env=environment, capture_output=True, text=True, check=False)


def program(path: Path, text: str = "#!/bin/sh\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def broken_rules(found: list[Instruction]) -> set[str]:
    """Name the rules that hadolint does not know or cannot see through an ARG."""
    broken = set()
    final = last_stage(found)
    stages = {words[2] for words in map(str.split, values(found, "FROM")) if len(words) == 3}
    if not all(base in KNOWN_BASES or base in stages for base in bases(found)):
        broken.add("base is known")
    users = values(final, "USER")
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
        broken.add("last user is a number that is not root's")
    entry = [one.exec_form for one in final if one.word == "ENTRYPOINT"]
    if len(entry) != 1 or not entry[0]:
        broken.add("one entry point, in exec form")
    if values(found, "ADD"):
        broken.add("no ADD")
    for step in values(found, "RUN"):
        if re.search(r"\bsudo\b", step):
            broken.add("no sudo")
        if re.search(r"\bapt(-get)? .*install\b", step) and not all(
            part in step for part in ("apt-get update &&", "--no-install-recommends", "rm -rf /var/lib/apt/lists/*")
        ):
            broken.add("apt-get: update, only what is named, and no lists left, in one step")
        if re.search(r"\b(curl|wget|git clone)\b", step):
            broken.add("no downloads but a package manager's")
    needs = ("title", "description", "base.name")
    if not all(assignments(final, "LABEL").get(f"org.opencontainers.image.{label}") for label in needs):
        broken.add("labelled")
    return broken


GOOD = """
FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title=t org.opencontainers.image.description=d org.opencontainers.image.base.name=b
RUN apt-get update && apt-get install -y --no-install-recommends a=1 && rm -rf /var/lib/apt/lists/*
USER 10001:10001
ENTRYPOINT ["a"]
"""


def test_these_are_all_the_dockerfiles_there_are() -> None:
    assert sorted(path.name for path in FOLDER.glob(f"*{SUFFIX}")) == sorted(f"{name}{SUFFIX}" for name in NAMES)


def test_hadolint_has_nothing_to_say() -> None:
    files = [str(path_of(name)) for name in NAMES]
    result = subprocess.run([tool("hadolint"), *HADOLINT, *files], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_hadolint_would_say_something(tmp_path: Path) -> None:
    bad = tmp_path / "bad.Dockerfile"
    bad.write_text(
        "FROM python:latest\nADD a /a\nRUN apt-get update && apt-get install -y a && sudo b $c\n"
        "USER root\nENTRYPOINT a\n",
        encoding="utf-8",
    )
    result = subprocess.run([tool("hadolint"), *HADOLINT, str(bad)], capture_output=True, text=True, check=False)
    said = set(re.findall(r"\b(?:DL|SC)\d{4}\b", result.stdout))
    assert result.returncode == 1
    assert said >= {"DL3007", "DL3020", "DL3008", "DL3009", "DL3015", "DL3004", "DL3002", "DL3025", "SC2086"}


@pytest.mark.parametrize("name", NAMES)
def test_a_dockerfile_keeps_the_rules(name: str) -> None:
    assert broken_rules(instructions(name)) == set()


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("bookworm", "trixie", "base is known"),
        ("FROM python:3.11-slim-bookworm", "ARG B=python:latest\nFROM ${B}", "base is known"),
        ("USER 10001:10001", "", "last user is a number that is not root's"),
        ("10001:10001", "0:10001", "last user is a number that is not root's"),
        ("10001:10001", "10001:10001\nUSER root", "last user is a number that is not root's"),
        ('["a"]', "a", "one entry point, in exec form"),
        ("USER", "ADD a b\nUSER", "no ADD"),
        ("RUN", "RUN sudo", "no sudo"),
        (" --no-install-recommends", "", "apt-get: update, only what is named, and no lists left, in one step"),
        (" && rm -rf /var/lib/apt/lists/*", "", "apt-get: update, only what is named, and no lists left, in one step"),
        ("update && ", "update\nRUN ", "apt-get: update, only what is named, and no lists left, in one step"),
        ("RUN", "RUN wget a &&", "no downloads but a package manager's"),
        ("image.title", "image.titel", "labelled"),
    ],
)
def test_a_broken_rule_is_found(old: str, new: str, rule: str) -> None:
    assert broken_rules(parse(GOOD)) == set()
    assert old in GOOD
    assert broken_rules(parse(GOOD.replace(old, new, 1))) == {rule}


def test_every_known_base_has_a_pinned_tag_and_is_named_in_the_readme_with_its_source() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = {match[1]: match[2] for match in re.finditer(r"^\| `([^`]+:[^`]+)` \| ([^|]+) \|", readme, re.MULTILINE)}
    assert rows.keys() == KNOWN_BASES.keys()
    for tag, base in KNOWN_BASES.items():
        assert re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*", tag), tag
        assert base.source in rows[tag], tag
    everything = "".join(path_of(name).read_text(encoding="utf-8") for name in NAMES) + readme
    assert not any(tag in everything for tag in REFUSED)


@pytest.mark.parametrize("name", NAMES)
def test_edgekit_is_installed_only_where_python_is_new_enough(name: str, repository: Path) -> None:
    project = (repository / "pyproject.toml").read_text(encoding="utf-8")
    match = re.search(r'^requires-python = ">=(\d+)\.(\d+)"$', project, re.MULTILINE)
    assert match
    needed = (int(match[1]), int(match[2]))
    found = instructions(name)
    installs = bool(values(found, "COPY")) or any(
        re.search(r"\bpip3?\b.* install\b", step) for step in values(found, "RUN")
    )
    assert installs == (name in TOOLKIT)
    if installs:
        assert all(KNOWN_BASES[base].python >= needed for base in bases(found))


@pytest.mark.parametrize("name", JETSON)
def test_a_jetson_image_only_starts_the_bundle(name: str) -> None:
    found = last_stage(instructions(name))
    entry, folder = values(found, "ENTRYPOINT"), values(found, "WORKDIR")
    assert parse(f"ENTRYPOINT {entry[0]}")[0].exec_form == ["sh", "/bundle/run.sh"]
    assert folder == ["/bundle"]
    assert not values(found, "CMD")


@pytest.mark.parametrize("name", NAMES)
def test_every_step_is_sound_posix_shell(name: str, tmp_path: Path) -> None:
    steps = values(instructions(name), "RUN")
    assert steps
    for number, step in enumerate(steps):
        script = tmp_path / f"{number}.sh"
        # The ARGs that a step may use are its environment.
        script.write_text(f"BASE_IMAGE=a\nexport BASE_IMAGE\n{step}\n", encoding="utf-8")
        assert subprocess.run(["dash", "-n", str(script)], check=False).returncode == 0
        result = subprocess.run(
            [tool("shellcheck"), "--norc", "--shell=dash", "--severity=style", str(script)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout


def moved(text: str, root: Path) -> str:
    """Return text with the absolute paths that an image is changed in put under root."""
    return re.sub(r"(?<![\w./])/(host|opt|usr/src)(?=/|$|\b)", rf"{root}/\1", text)


def search_path(name: str, root: Path) -> str:
    path = assignments(last_stage(instructions(name)), "ENV")["PATH"]
    assert path.endswith(":$PATH")
    return moved(path, root).replace("$PATH", os.defpath)


@pytest.mark.parametrize("name", JETSON)
@pytest.mark.parametrize("place", ["usr/src/tensorrt/bin", None])
def test_a_jetson_image_is_built_where_trtexec_is_and_links_what_run_sh_reads(
    name: str, place: str | None, tmp_path: Path
) -> None:
    (step,) = values(instructions(name), "RUN")
    if place:
        program(tmp_path / place / "trtexec")
    result = sh(moved(step, tmp_path), PATH=search_path(name, tmp_path), BASE_IMAGE="the-base")
    # The Nano's trtexec is mounted when the container starts, so its build cannot look for it.
    if place or name == "jetson-nano":
        assert (result.returncode, result.stderr) == (0, "")
        assert (tmp_path / "host/sys/devices").is_dir()
        assert (tmp_path / "host/usr/local/cuda").readlink() == Path("/usr/local/cuda")
    else:
        assert (result.returncode, result.stderr) == (1, "the-base has no trtexec\n")
        assert not (tmp_path / "host").exists()


@pytest.mark.parametrize(
    ("trtexec", "modules", "said"),
    [
        (True, ("pip", "tensorrt"), ""),
        (False, ("pip", "tensorrt"), "the-base has no trtexec\n"),
        (True, ("pip",), "the-base has no tensorrt module or no pip\n"),
    ],
)
def test_the_toolkit_with_tensorrt_refuses_a_base_without_it(
    trtexec: bool, modules: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    step = values(instructions("x86-tensorrt"), "RUN")[0]
    if trtexec:
        program(tmp_path / "opt/tensorrt/bin/trtexec")
    # Stands for the packages of the base: the module is found, not imported.
    site = tmp_path / "site"
    for module in modules:
        program(site / f"{module}.py", "raise ImportError\n")
    program(tmp_path / "usr/src/tensorrt/bin/python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    result = sh(
        moved(step, tmp_path),
        PATH=search_path("x86-tensorrt", tmp_path),
        PYTHONPATH=str(site),
        BASE_IMAGE="the-base",
    )
    assert (result.returncode, result.stderr) == (int(bool(said)), said)
    settings = (tmp_path / "opt/edgekit/pyvenv.cfg").read_text(encoding="utf-8")
    assert "include-system-site-packages = true" in settings


def test_torch_comes_alone_from_the_index_of_cpu_builds() -> None:
    for name in TOOLKIT:
        installs = [
            part for step in values(instructions(name), "RUN") for part in step.split("&&") if " install " in part
        ]
        torch, rest = (part.split() for part in installs)
        assert torch[-1] == "torch"
        assert {"--no-deps", "--index-url", "https://download.pytorch.org/whl/cpu"} <= set(torch)
        assert "index-url" not in " ".join(rest)
        for words in (torch, rest):
            assert words[words.index("-c") + 1] == "constraints.txt"


def test_the_toolkit_images_get_all_that_the_wheel_is_made_of(repository: Path, tmp_path: Path) -> None:
    for name in TOOLKIT:
        sources = copied(instructions(name))
        ignore = (FOLDER / f"{name}{SUFFIX}.dockerignore").read_text(encoding="utf-8").splitlines()
        kept = {line[1:] for line in ignore if line.startswith("!")}
        assert ignore[1] == "*"
        assert kept == set(sources)
    for source in sources:
        ours = repository / source
        if ours.is_dir():
            shutil.copytree(ours, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ours, tmp_path / source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    result = subprocess.run([*pip, "wheels", "."], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    (wheel,) = (tmp_path / "wheels").glob("edgekit-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert {"edgekit/cli/__init__.py", "edgekit/_shipped/calibration/manifest.json"} <= held


def test_the_jetson_images_are_sent_nothing() -> None:
    lines = (FOLDER / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["*"]
