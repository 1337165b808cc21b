"""The pages that commands write: what there is to see, as HTML."""

from cofactor.report.comparison_page import render_comparison
from cofactor.report.demo_page import render_demo
from cofactor.report.layout import write_page
from cofactor.report.tuning_page import render_tuning

__all__ = ["render_comparison", "render_demo", "render_tuning", "write_page"]
