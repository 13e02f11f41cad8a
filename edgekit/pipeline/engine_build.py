"""`edgekit build`: an engine, built, timed and checked here, in a container or on the device itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

from edgekit.engine import (
    MANIFEST,
    Answer,
    Platform,
    Show,
    build_here,
    build_in_container,
    build_on_host,
    check_built,
    differences,
    find_container,
    find_program,
    parse_host,
    platform_of,
    replacing_folder,
)
from edgekit.errors import TargetError
from edgekit.pipeline.build import BundleRequest, make_bundle
from edgekit.pipeline.lowering import tensorrt_target
from edgekit.spec import Note
from edgekit.targets import BuildPlan, Card, choose_stack

# Runs the bundle in a folder and leaves the answer in it.
Build = Callable[[Path, Show], None]


@dataclasses.dataclass(frozen=True)
class Here:
    """Build on this machine."""


@dataclasses.dataclass(frozen=True)
class InContainer:
    """Build in a container on this machine.

    Attributes:
        image: The image; None takes the one that the target's card names.
    """

    image: str | None = None


@dataclasses.dataclass(frozen=True)
class OnHost:
    """Build on the device, over ssh.

    Attributes:
        host: `USER@HOST:PORT`, of which user and port may be left out.
    """

    host: str


Way = Here | InContainer | OnHost


@dataclasses.dataclass(frozen=True)
class Built:
    """An engine that was built.

    Attributes:
        folder: The bundle with what was made of it: `model.engine`, `engine.json`, `result.json`, logs and caches.
        answer: What the device said.
        plan: How the model got onto the target.
        notes: What was planned, rewritten, and found on the device.
    """

    folder: Path
    answer: Answer
    plan: BuildPlan
    notes: tuple[Note, ...]


def build_engine(request: BundleRequest, way: Way, show: Show) -> Built:
    """Make a bundle, run it, and keep it with its answer, whole or not at all.

    Args:
        request: The bundle, and the folder to keep.
        way: Where to run it.
        show: Is given each line that is printed there.

    Raises:
        EdgekitError: As `make_bundle`; EK001 for a host that is none, EK003 when the folder cannot be written, EK004
            without ssh, EK703 to EK717 and EK722 for what goes wrong where it runs.
    """
    _, card = tensorrt_target(request.target, request.jetpack)
    build = _choose(way, card, request.jetpack)
    with replacing_folder(request.folder, mark=MANIFEST, kind="a bundle", option="--output") as staging:
        made = make_bundle(dataclasses.replace(request, folder=staging))
        build(staging, show)
        answer = check_built(staging)
    return Built(request.folder, answer, made.plan, (*made.notes, *_found(made.plan, card, answer)))


def _choose(way: Way, card: Card, jetpack: str | None) -> Build:
    """Return what builds, after finding out whether it can: that takes no time, and making the bundle does."""
    match way:
        case OnHost(host):
            return partial(build_on_host, parse_host(host))
        case InContainer(image):
            container = find_container(image or _image(card, jetpack), jetson=card.kind == "jetson")
            return partial(build_in_container, container)
        case Here():
            return partial(build_here, find_program())


def _image(card: Card, jetpack: str | None) -> str:
    stack = choose_stack(card, jetpack)
    if not stack.container:
        raise TargetError(
            "EK705",
            f"the card of {card.name} names no image for {f'JetPack {stack.jetpack}' if stack.jetpack else 'it'}",
            where="--container",
            hint="build one as docker/README.md says and name it with --image",
        )
    return stack.container


def _found(plan: BuildPlan, card: Card, answer: Answer) -> tuple[Note, ...]:
    """Say what the device is that the plan did not expect."""
    capability = card.facts.compute_capability
    planned = Platform(plan.tensorrt, capability.value if capability else None)
    differing = differences(planned, platform_of(answer.device))
    if not differing:
        return ()
    text = f"{', '.join(differing)}: the engine is for what it was built on, the plan was for {plan.target}"
    return (Note("device", text),)
