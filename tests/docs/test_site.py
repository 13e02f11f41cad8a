"""The documentation site: built without a warning and without a network, complete, and asking nothing of strangers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer.main

from edgekit.cli._main import COMMANDS, application
from edgekit.errors import CODES

pytestmark = pytest.mark.slow
# Attributes by which a page fetches something; what a reader may click on is not among them.
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "link": "href"}


class Fetched(HTMLParser):
    """Collects what a page fetches, and the addresses of its own parts."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.urls.extend(filter(None, [values.get(FETCHED.get(tag, ""))]))
        self.links.extend(filter(None, [values.get("href") if tag == "a" else None]))
        self.anchors.update(filter(None, [values.get("id"), values.get("name")]))


@pytest.fixture(scope="module")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; the build has no network, and a warning ends it."""
    if sys.version_info < (3, 11):
        pytest.skip("mkdocs-material needs Python 3.11")
    folder = tmp_path_factory.mktemp("site")
    # An address at which nobody answers: whatever wants the network fails.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    environment = {**os.environ, **nowhere, "PYTHONPATH": str(repository), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:edgekit", "-m", "mkdocs", "build", "--strict", "-d", folder],
        check=False, capture_output=True, text=True, cwd=repository, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Fetched]:
    found = {}
    for path in sorted(site.rglob("*.html")):
        parser = Fetched()
        parser.feed(path.read_text(encoding="utf-8"))
        found[str(path.relative_to(site))] = parser
    return found


def test_nothing_is_fetched_from_elsewhere(site: Path, pages: dict[str, Fetched]) -> None:
    assert len(pages) > 30
    foreign = {page: [url for url in found.urls if re.match(r"(\w+:)?//", url)] for page, found in pages.items()}
    assert {page: urls for page, urls in foreign.items() if urls} == {}
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", text), sheet


def test_every_link_inside_leads_somewhere(site: Path, pages: dict[str, Fetched]) -> None:
    broken = []
    for page, found in pages.items():
        if page == "404.html":
            continue
        for link in found.links:
            target, _, anchor = link.partition("#")
            if re.match(r"\w+:", target):
                continue
            path = (site / page).parent / target if target else site / page
            path = path / "index.html" if path.is_dir() else path
            name = os.path.relpath(path, site)
            if not path.exists() or (anchor and name in pages and anchor not in pages[name].anchors):
                broken.append(f"{page}: {link}")
    assert broken == []


def test_the_reference_has_every_command_option_and_code(site: Path, pages: dict[str, Fetched]) -> None:
    text = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    assert {f"edgekit-{name}" for name in COMMANDS} <= pages["reference/commands.html"].anchors
    program = typer.main.get_command(application([*COMMANDS]))
    for command in program.commands.values():  # type: ignore[attr-defined]
        for option in (option for parameter in command.params for option in parameter.opts if option.startswith("--")):
            assert option in text
    errors = (site / "errors.html").read_text(encoding="utf-8")
    assert all(code in errors for code in CODES)


def test_the_reference_has_every_name_that_a_facade_offers(pages: dict[str, Fetched]) -> None:
    import edgekit
    from edgekit import data, engine, models, pruning, quantize, report, results, targets, training, validate
    from edgekit.pipeline import run, sweep

    anchors = set().union(*(found.anchors for page, found in pages.items() if page.startswith("reference/")))
    for facade in (
        edgekit, data, engine, models, pruning, quantize, report, results, targets, training, validate, run, sweep,
    ):  # fmt: skip
        for name in facade.__all__:
            kind = type(getattr(facade, name)).__name__
            if kind in ("function", "type", "ABCMeta", "ModelMetaclass"):
                # A function may have the name of the module that it lies in.
                here = {f"{facade.__name__}.{name}", f"{facade.__name__}.{name}.{name}"}
                assert here & anchors, f"{facade.__name__}.{name}"
