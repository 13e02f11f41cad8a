"""The `edgekit` program: its commands, and how every failure ends."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence

import typer

import edgekit
from edgekit.cli import _common as common
from edgekit.errors import EdgekitError, UsageError, says_out_of_memory

BAD_INPUT = 2
INTERRUPTED = 130
# Set by the shell when it completes a command line.
COMPLETION = "_EDGEKIT_COMPLETE"

# What each command does, in the order of `edgekit --help`. The text stands here as well as in the command's own file,
# so that help does not import all of them; a test holds the two together.
COMMANDS: Mapping[str, str] = {
    "models": "List the architectures known: name, widths, input sizes, parameters, MACs.",
    "profile": (
        "Show parameters, MACs and activation bytes, layer by layer and in total; with --target an estimated time."
    ),
    "train": "Train or fine-tune a MobileNet on labelled images; resumes to the same result.",
    "prune": "Make a model smaller, and bring what is left back to what the original computes.",
    "export": "Export a MobileNet to ONNX, quantize it to int8, and measure what that cost against FP32.",
    "validate": "Compare any two of model and device result: accuracy drift and time per frame.",
    "bench": "Time models in turns: frame times, throughput and memory, beside what this machine measures of itself.",
    "gate": "Fail CI when a model got worse: pass (exit 0), fail (1) or inconclusive (3).",
    "inspect": (
        "Show what each layer of an ONNX model really runs in, how far it is from FP32, and what is wrong with it."
    ),
    "targets": "List the targets and what each can do; every fact with its source and how sure it is.",
    "check-engine": "Lower a model for a target and let NVIDIA's own parser and builder judge it, without a GPU.",
    "build": "Build, time and check an engine here, in a container or on the device; or write what does so elsewhere.",
    "init": "Write a commented pipeline file that runs as it is.",
    "run": "Run a whole pipeline from one file; what was made before is kept, what was interrupted goes on.",
    "diff": "Say what changed between two models, layer by layer, or between two runs; exit 0 whatever it finds.",
    "reproduce": "Make everything that a lock file names again, from nothing; exit 1 unless every byte is the same.",
    "cache": "List the results that edgekit run keeps, or remove those that are old, damaged or were never finished.",
    "sweep": "Try many ways to make a model small, and keep those that none beats.",
    "doctor": "Tell what is installed, what this CPU can do, what is missing and how to get it.",
}


def implementation(name: str) -> Callable[..., None]:
    """Import the file of a command and return what it runs."""
    command: Callable[..., None] = importlib.import_module(f"edgekit.cli.{name.replace('-', '_')}").command
    return command


def application(words: Sequence[str]) -> typer.Typer:
    """Return the program for one command line; of commands that it does not name, help alone is there."""
    app = typer.Typer(
        name="edgekit",
        help="Quantize MobileNets to int8 for edge devices, and prove what it cost.",
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name, summary in COMMANDS.items():
        # Completion in the shell needs the options of all.
        if name in words or COMPLETION in os.environ:
            app.command(name)(implementation(name))
        else:
            app.command(name, help=summary)(_not_named)
    return app


def _not_named() -> None:
    raise AssertionError("a command ran that the command line does not name")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgekit {edgekit.__version__}")
        raise typer.Exit


def _options(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_print_version, is_eager=True),
) -> None:
    pass


def main() -> None:
    """Run the program and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns 0 on success, 1 when a check failed, 2 on bad input, 3 undecided, 130 on Ctrl-C."""
    words = list(arguments)
    try:
        result = application(words)(words or ["--help"], prog_name="edgekit", standalone_mode=False, obj=tuple(words))
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
    if says_out_of_memory(error):
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
