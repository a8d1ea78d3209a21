"""Figures and self-contained HTML pages from plain arrays."""

from act3d.report.charts import bar_rows, line_chart, mean_spread, scatter_map
from act3d.report.clouds import depth_colors, render_cloud, view_bounds
from act3d.report.page import (
    Section,
    charts,
    commands,
    details,
    facts,
    gallery,
    headline,
    paragraph,
    table,
    write_page,
)

__all__ = [
    "Section",
    "bar_rows",
    "charts",
    "commands",
    "depth_colors",
    "details",
    "facts",
    "gallery",
    "headline",
    "line_chart",
    "mean_spread",
    "paragraph",
    "render_cloud",
    "scatter_map",
    "table",
    "view_bounds",
    "write_page",
]
