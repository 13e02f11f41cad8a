"""The `edgekit` program: its commands, and how every failure ends."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence

import typer

import edgekit
from edgekit.cli import doctor, export, inspect, models, profile, train, validate
from edgekit.errors import EdgekitError, UsageError

INTERRUPTED = 130

app = typer.Typer(
    name="edgekit",
    help="Quantize MobileNets to int8 for edge devices, and prove what it cost.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS: Mapping[str, Callable[..., None]] = {
    "models": models.command,
    "profile": profile.command,
    "train": train.command,
    "export": export.command,
    "validate": validate.command,
    "inspect": inspect.command,
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
    try:
        result = app(list(arguments), prog_name="edgekit", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except EdgekitError as error:
        return _refuse(error, arguments)
    except (KeyboardInterrupt, typer.Abort):
        print("edgekit: interrupted; nothing was left half-written", file=sys.stderr)
        return INTERRUPTED
    except MemoryError:
        return _refuse(
            UsageError("EK006", "the machine has too little memory for this", hint="take a smaller model or batch"),
            arguments,
        )
    except Exception as error:
        return _explain(error, arguments)


def _explain(error: Exception, arguments: Sequence[str]) -> int:
    """Turn what typer, or a defect, raised into one line."""
    # typer and the click inside it both give their user errors this method; neither class is public in all versions.
    if hasattr(error, "format_message"):
        words = str(error.format_message()).rstrip(".").replace("\n", " ")
        command = next((word for word in arguments if not word.startswith("-")), "")
        usage = f"edgekit {command} --help" if command in COMMANDS else "edgekit --help"
        return _refuse(UsageError("EK001", words, hint=f"see {usage}"), arguments)
    if os.environ.get("EDGEKIT_TRACEBACK"):
        traceback.print_exc()
    defect = EdgekitError(
        "EK999",
        f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}",
        hint="this is a defect: please report it with the output of EDGEKIT_TRACEBACK=1 edgekit …",
    )
    return _refuse(defect, arguments)


def _refuse(error: EdgekitError, arguments: Sequence[str]) -> int:
    if "--json" in arguments:
        print(json.dumps({"error": error.as_dict()}))
    print(f"edgekit: {error}", file=sys.stderr)
    return 2
