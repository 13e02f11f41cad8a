"""The `edgekit` program: its commands, and how every failure ends."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence

import typer

import edgekit
from edgekit.cli import _common as common
from edgekit.cli import (
    build,
    cache,
    check_engine,
    diff,
    doctor,
    export,
    init,
    inspect,
    models,
    profile,
    prune,
    reproduce,
    targets,
    train,
    validate,
)
from edgekit.cli import run as run_command
from edgekit.errors import EdgekitError, UsageError

BAD_INPUT = 2
INTERRUPTED = 130
# How torch and onnxruntime say, in exceptions of their own, that an allocation failed.
OUT_OF_MEMORY = re.compile(r"can't allocate memory|not enough memory|failed to allocate|bad[_ ]alloc", re.IGNORECASE)

app = typer.Typer(
    name="edgekit",
    help="Quantize MobileNets to int8 for edge devices, and prove what it cost.",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS: Mapping[str, Callable[..., None]] = {
    "models": models.command,
    "profile": profile.command,
    "train": train.command,
    "prune": prune.command,
    "export": export.command,
    "validate": validate.command,
    "inspect": inspect.command,
    "targets": targets.command,
    "check-engine": check_engine.command,
    "build": build.command,
    "init": init.command,
    "run": run_command.command,
    "diff": diff.command,
    "reproduce": reproduce.command,
    "cache": cache.command,
    "doctor": doctor.command,
}
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgekit {edgekit.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_print_version, is_eager=True),
) -> None:
    pass


def main() -> None:
    """Run the program and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns 0 on success, 1 when a check failed, 2 on bad input, 130 on Ctrl-C."""
    words = list(arguments)
    try:
        result = app(words or ["--help"], prog_name="edgekit", standalone_mode=False, obj=tuple(words))
    except (KeyboardInterrupt, typer.Abort):
        result = INTERRUPTED
    except Exception as error:
        _report(_explain(error, words), words)
        return BAD_INPUT
    # Newer versions of typer catch Ctrl-C themselves and return this code without a word.
    if result == INTERRUPTED:
        print("edgekit: interrupted; nothing was left half-written", file=sys.stderr)
    return result if isinstance(result, int) else 0


def _explain(error: Exception, words: Sequence[str]) -> EdgekitError:
    """Turn whatever was raised into an error with a code."""
    if isinstance(error, EdgekitError):
        return error
    # typer and the click inside it both give their user errors this method; neither class is public in all versions.
    if hasattr(error, "format_message"):
        command = next((word for word in words if not word.startswith("-")), "")
        usage = f"edgekit {command} --help" if command in COMMANDS else "edgekit --help"
        return UsageError("EK001", str(error.format_message()).rstrip("."), hint=f"see {usage}")
    if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error)):
        what = "the machine has too little memory for this"
        return UsageError("EK006", what, hint="take a smaller model, input size or batch")
    if isinstance(error, ImportError) and not (error.name or "").startswith("edgekit"):
        return UsageError("EK004", str(error), hint="see edgekit doctor for what is missing and how to get it")
    if os.environ.get("EDGEKIT_TRACEBACK"):
        traceback.print_exception(error)
    return EdgekitError(
        "EK999",
        f"{type(error).__name__}: {str(error).partition(chr(10))[0] or 'no message'}",
        hint="this is a defect: please report it with the output of EDGEKIT_TRACEBACK=1 edgekit …",
    )


def _report(error: EdgekitError, words: Sequence[str]) -> None:
    """Print an error: one line on standard error, and with `--json` the same facts on standard output."""
    if "--json" in words:
        common.print_json({"error": error.as_dict()})
    line = " ".join(str(error).split("\n"))
    print(f"edgekit: {common.printable(line)}", file=sys.stderr)
