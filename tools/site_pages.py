"""Pages of the documentation site that are made while it is built: mkdocs calls the functions here (see mkdocs.yml).

The commands are written from what typer knows of them, which is what `--help` prints; the pages of other folders of the
repository are shown where the site can link to them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from edgekit.cli._main import COMMANDS, application

REPOSITORY = Path(__file__).resolve().parent.parent
COMMAND_PAGE = "reference/commands.md"
# Page of the site → page of the repository, which pages in docs/ link to as `../engines/README.md`.
ELSEWHERE = {
    "reference/cards.md": "engines/README.md",
    "reference/containers.md": "docker/README.md",
    "reference/sample.md": "calibration/README.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not lie in docs/."""
    files.append(File.generated(config, COMMAND_PAGE, content=command_page()))
    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, abs_src_path=str(REPOSITORY / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to those pages lead to them, and theirs to the pages in docs/."""
    if page.file.src_uri in ELSEWHERE:
        markdown = markdown.replace("](../docs/", "](../")
    up = "../" * page.file.src_uri.count("/")
    for target, source in ELSEWHERE.items():
        markdown = markdown.replace(f"]({up}../{source}", f"]({up}{target}")
    return markdown


def command_page() -> str:
    """Return the page of all commands, each with its arguments, options and defaults."""
    program: Any = typer.main.get_command(application([*COMMANDS]))
    parent = program.context_class(program, info_name="edgekit")
    intro = (
        "# Commands\n\nWritten from `edgekit --help` and `edgekit COMMAND --help`. Every command exits 0 on success, 1 "
        "when a check that it was asked to make fails, 2 on bad input with one line and a [code](../errors.md); `gate` "
        "exits 3 when the evidence is too little."
    )
    return "\n\n".join([intro, *(_command(name, program.commands[name], parent) for name in COMMANDS)]) + "\n"


def _command(name: str, command: Any, parent: Any) -> str:
    context = command.context_class(command, info_name=name, parent=parent)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    records = (parameter.get_help_record(context) for parameter in command.get_params(context))
    cells = ((what.replace("|", "\\|"), text.replace("|", "\\|")) for what, text in filter(None, records))
    rows = [f"| `{what}` | {text.replace('<', '&lt;')} |" for what, text in cells]
    table = "\n".join(["| argument or option | |", "|---|---|", *rows])
    return f"## edgekit {name}\n\n{command.help}\n\n```text\n{usage}\n```\n\n{table}"
