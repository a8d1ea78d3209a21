"""Figures and self-contained HTML pages from plain arrays."""

from act3d.report.charts import bar_rows, line_chart, mean_spread, scatter_map
from act3d.report.class_colors import class_colors, label_colors
from act3d.report.cloud_picture import depth_colors, render_cloud, view_bounds
from act3d.report.page import render, write_page

__all__ = [
    "bar_rows",
    "class_colors",
    "depth_colors",
    "label_colors",
    "line_chart",
    "mean_spread",
    "render",
    "render_cloud",
    "scatter_map",
    "view_bounds",
    "write_page",
]
