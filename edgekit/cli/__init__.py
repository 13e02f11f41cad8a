"""The command line: one file a command; each only parses, calls one function and prints."""

from edgekit.cli._main import main

__all__ = ["main"]
