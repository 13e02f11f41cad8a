"""Running a bundle in a container."""

from __future__ import annotations

import dataclasses
import grp
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgekit.engine._run import Show, cache_folder, failure, run_program, settings, show_log
from edgekit.errors import TargetError

ENGINES: Final = ("docker", "podman")
# The groups of the GPU's device files on a Jetson; anyone but root needs them.
GROUPS: Final = ("video", "render")
# What run.sh reads of the board and a container hides; it finds the rest through links.
BOARD: Final = ("proc/device-tree/model", "etc/nv_tegra_release")
LINKS: Final = ("sys", "usr/local/cuda")
ASK_LIMIT_S: Final = 60
REFUSED: Final = 125
_NO_IMAGE = re.compile("no such image|image not known|no such object", re.IGNORECASE)
# NVIDIA's images have trtexec, though not all of them in PATH.
_START = "PATH=$PATH:/opt/tensorrt/bin:/usr/src/tensorrt/bin exec sh run.sh"


@dataclasses.dataclass(frozen=True)
class Container:
    """What a bundle runs in.

    Attributes:
        engine: `docker` or `podman`.
        image: The image; it needs trtexec and a shell.
        jetson: The board is a Jetson, whose GPU comes in another way than that of an x86 machine.
    """

    engine: str
    image: str
    jetson: bool


@dataclasses.dataclass(frozen=True)
class Mounts:
    """Folders of the host that a container sees.

    Attributes:
        bundle: The bundle, which is written to.
        board: Copies of what names the board.
        cache: Where timing caches stay; None for nowhere.
    """

    bundle: Path
    board: Path
    cache: Path | None


def find_container(image: str, *, jetson: bool) -> Container:
    """Find Docker, else Podman, and the image; nothing is downloaded.

    Raises:
        TargetError: EK704 when neither answers, EK705 when the image is not there.
    """
    engine = next((name for name in ENGINES if shutil.which(name)), None)
    if engine is None:
        raise TargetError(
            "EK704",
            "neither docker nor podman is installed",
            where="--container",
            hint="install Docker with the NVIDIA container toolkit, or take --host or --bundle",
        )
    command = [engine, "image", "inspect", "--format", "{{.Id}}", image]
    try:
        asked = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ASK_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _refused(engine, f"no answer after {ASK_LIMIT_S} s") from error
    if asked.returncode == 0:
        return Container(engine, image, jetson)
    told = asked.stderr.strip()
    if _NO_IMAGE.search(told):
        raise TargetError(
            "EK705",
            f"{engine} has no image {image}",
            where="--container",
            hint=f"run {engine} pull {image}, or build one as docker/README.md says and name it with --image",
        )
    raise _refused(engine, told.splitlines()[-1] if told else f"exit status {asked.returncode}")


def _refused(engine: str, what: str) -> TargetError:
    return TargetError(
        "EK704",
        f"{engine} does not run: {what}",
        where="--container",
        hint="start its service, see that you may use it, and install the NVIDIA container toolkit",
    )


def container_command(container: Container, mounts: Mounts, name: str, groups: Sequence[int]) -> list[str]:
    """Return the command line that runs a bundle in a container: nobody's root, without a network.

    Args:
        container: What it runs in.
        mounts: Folders of the host.
        name: Name of the container.
        groups: Groups of the GPU's device files on this machine.
    """
    command = [container.engine, "run", "--rm", "--name", name, "--network", "none"]
    if container.engine == "podman":
        command += ["--device", "nvidia.com/gpu=all", "--security-opt", "label=disable", "--group-add", "keep-groups"]
        command += ["--userns", "keep-id"] if os.geteuid() else []
    else:
        command += ["--runtime", "nvidia"] if container.jetson else ["--gpus", "all"]
        command += ["--user", f"{os.geteuid()}:{os.getegid()}"]
        for group in groups if container.jetson else ():
            command += ["--group-add", str(group)]
    command += ["--mount", _bind(mounts.bundle, "/bundle"), "--mount", _bind(mounts.board, "/board", "readonly")]
    command += ["--env", "EDGEKIT_ROOT=/board"]
    if mounts.cache is not None:
        command += ["--mount", _bind(mounts.cache, "/cache"), "--env", "EDGEKIT_CACHE=/cache"]
    for setting, value in settings().items():
        command += ["--env", f"{setting}={value}"]
    return [*command, "--workdir", "/bundle", "--entrypoint", "sh", container.image, "-c", _START]


def _bind(source: Path, target: str, *flags: str) -> str:
    """Return a mount in the form of a CSV line, in which a comma of the path stands between quotes."""
    path = str(source).replace('"', '""')
    return ",".join(["type=bind", f'"source={path}"' if set(path) & {",", '"'} else f"source={path}",
                     f"target={target}", *flags])  # fmt: skip


def build_in_container(container: Container, folder: Path, show: Show) -> None:
    """Run a bundle in a container; its folder then holds the engine and `result.json`.

    Args:
        container: What `find_container` returned.
        folder: The bundle.
        show: Is given each line that it prints.

    Raises:
        TargetError: EK703 and EK706 to EK712 for what its program tells, EK704 when the container does not start.
    """
    name = f"edgekit-{secrets.token_hex(6)}"
    with tempfile.TemporaryDirectory(prefix="edgekit-") as board:
        _copy_board(Path(board))
        mounts = Mounts(folder.resolve(), Path(board), cache_folder())
        try:
            outcome = run_program(container_command(container, mounts, name, _groups()), folder, show, {})
        except BaseException:
            # The client may be gone and the container not; one that is gone already is no error.
            subprocess.run([container.engine, "rm", "--force", name], capture_output=True, check=False)
            raise
    if outcome.status == REFUSED:
        raise _refused(container.engine, next(filter(None, outcome.lines), f"exit status {REFUSED}"))
    if outcome.status != 0:
        show_log(folder, show)
        raise failure(outcome, container.image)


def _groups() -> tuple[int, ...]:
    return tuple(entry.gr_gid for entry in grp.getgrall() if entry.gr_name in GROUPS)


def _copy_board(folder: Path) -> None:
    root = Path(os.environ.get("EDGEKIT_ROOT") or "/")
    for name in BOARD:
        source, copy = root / name, folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file():
            copy.write_bytes(source.read_bytes())
    for name in LINKS:
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"/{name}")
