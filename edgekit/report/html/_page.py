"""Puts a comparison into the page's template."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import jinja2
from markupsafe import Markup

from edgekit.report._text import plain
from edgekit.report.html import _charts as charts
from edgekit.report.html import _details as details
from edgekit.report.html import _layers as layers
from edgekit.report.html import _overview as overview
from edgekit.results import Comparison


def html_page(comparison: Comparison, thumbnails: Mapping[int, bytes]) -> str:
    """Return a comparison as one HTML document without script, whose only pictures are in it.

    Args:
        comparison: What was measured. For each part that is None the page says that it was not measured.
        thumbnails: Small JPEG files of the images of `shown_flips`, by `Flip.index`; one that is missing is said.
    """
    environment = _environment()
    assert environment.loader is not None
    style = environment.loader.get_source(environment, "style.css")[0]
    page = environment.get_template("page.html")
    return page.render(style=Markup(style), policy=_policy(style), **_parts(comparison, thumbnails))


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("edgekit.report.html"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )


def _printable(value: Any) -> Any:
    """Return text without control characters, which names of files and classes may hold."""
    return plain(value).plain if isinstance(value, str) and not isinstance(value, Markup) else value


def _policy(style: str) -> str:
    """Return a Content-Security-Policy that allows this style sheet and pictures in the page, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def _parts(comparison: Comparison, thumbnails: Mapping[int, bytes]) -> dict[str, Any]:
    diagnosis, samples = comparison.diagnosis, comparison.samples
    return {
        "comparison": comparison,
        "names": overview.side_names(comparison),
        "headline": overview.headline(comparison),
        "tiles": overview.tiles(comparison),
        "rows": overview.rows(comparison),
        "remarks": overview.remarks(comparison),
        "checks": overview.check_rows(comparison),
        "significance": overview.significance_lines(comparison),
        "trade_offs": [charts.accuracy_against_size(comparison), charts.accuracy_against_time(comparison)],
        "times": [charts.latency_distribution(samples), charts.latency_in_order(samples)] if samples else [],
        "findings": details.finding_cards(diagnosis.findings) if diagnosis else [],
        "layers": layers.layer_rows(diagnosis) if diagnosis else None,
        "flips": details.flip_cards(comparison, thumbnails),
        "pairs": details.pairs(comparison),
        "classes": details.class_rows(comparison.detail.classes),
        "machine": details.machine_rows(comparison),
    }
