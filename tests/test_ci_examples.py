"""The workflow and the job in docs/ci: valid in the schemas of GitHub and GitLab, with options that edgekit has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer.main
import yaml
from schemas import GITHUB_WORKFLOW, GITLAB_CI, official_schema

from edgekit.cli._main import COMMANDS, application


def load(repository: Path, name: str) -> Any:
    # YAML 1.1 takes the key `on` for true.
    text = (repository / "docs" / "ci" / name).read_text(encoding="utf-8").replace("\non:", '\n"on":')
    return yaml.safe_load(text)


@pytest.mark.parametrize(("name", "url"), [("github.yml", GITHUB_WORKFLOW), ("gitlab.yml", GITLAB_CI)])
def test_it_is_valid_in_the_official_schema(repository: Path, name: str, url: str) -> None:
    schema = official_schema(url)
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(load(repository, name))] == []
    broken = load(repository, name)
    if name == "github.yml":
        broken["jobs"]["gate"]["runs_on"] = "nothing"
    else:
        broken["edgekit-gate"]["allow_failure"] = {"exit_codes": "three"}
    assert not validator.is_valid(broken)


@pytest.mark.parametrize("name", ["github.yml", "gitlab.yml"])
def test_its_command_line_has_options_that_exist(repository: Path, name: str) -> None:
    text = str(load(repository, name))
    (line,) = re.findall(r"edgekit gate [^'\\]+", text)
    words = shlex.split(line)
    gate = typer.main.get_command(application([*COMMANDS])).commands["gate"]  # type: ignore[attr-defined]
    known = {option for parameter in gate.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    assert len(words) > 5
