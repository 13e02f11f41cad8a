"""A comparison as one HTML page that needs no network: for a browser, a phone and a printer."""

from __future__ import annotations

from edgekit.report.html._details import shown_flips
from edgekit.report.html._page import html_page

__all__ = ["html_page", "shown_flips"]
