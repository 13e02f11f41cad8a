"""A whole pipeline from one file: settings, stages, cache, lock file."""

from __future__ import annotations

from edgekit.pipeline.run._cache import Cache, Listed
from edgekit.pipeline.run._execute import RunRequest, run_pipeline
from edgekit.pipeline.run._lines import RunOutcome, StageLine, StageOutcome
from edgekit.pipeline.run._lock import Difference, read_lock
from edgekit.pipeline.run._read import Loaded, json_schema, load_pipeline, pipeline_of
from edgekit.pipeline.run._reproduce import Reproduced, Reproduction, reproduce
from edgekit.pipeline.run._settings import Pipeline

__all__ = [
    "Cache",
    "Difference",
    "Listed",
    "Loaded",
    "Pipeline",
    "Reproduced",
    "Reproduction",
    "RunOutcome",
    "RunRequest",
    "StageLine",
    "StageOutcome",
    "json_schema",
    "load_pipeline",
    "pipeline_of",
    "read_lock",
    "reproduce",
    "run_pipeline",
]
