"""The command line: one file a command; each only parses, calls one function and prints."""

from edgekit.cli._main import app, main

__all__ = ["app", "main"]
