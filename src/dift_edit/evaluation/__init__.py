"""The field's benchmarks and measures."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dift_edit.evaluation.metrics import corner_error, homography_accuracy, matching_accuracy, pck, transfer_iou
    from dift_edit.evaluation.options import BenchmarkOptions, DatasetError
    from dift_edit.evaluation.runner import BENCHMARKS, Report, load_benchmark, load_report, run_benchmark
    from dift_edit.evaluation.search import grid_search
    from dift_edit.evaluation.segmentation import contour_accuracy, mean_jf, region_similarity
    from dift_edit.evaluation.tables import bootstrap_difference, compare_reports, format_table, report_table

_HOMES = {
    "metrics": ["corner_error", "homography_accuracy", "matching_accuracy", "pck", "transfer_iou"],
    "options": ["BenchmarkOptions", "DatasetError"],
    "runner": ["BENCHMARKS", "Report", "load_benchmark", "load_report", "run_benchmark"],
    "search": ["grid_search"],
    "segmentation": ["contour_accuracy", "mean_jf", "region_similarity"],
    "tables": ["bootstrap_difference", "compare_reports", "format_table", "report_table"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BENCHMARKS",
    "BenchmarkOptions",
    "DatasetError",
    "Report",
    "bootstrap_difference",
    "compare_reports",
    "contour_accuracy",
    "corner_error",
    "format_table",
    "grid_search",
    "homography_accuracy",
    "load_benchmark",
    "load_report",
    "matching_accuracy",
    "mean_jf",
    "pck",
    "region_similarity",
    "report_table",
    "run_benchmark",
    "transfer_iou",
]


def __getattr__(name: str) -> Any:
    """Import on first use: the command line reads the options without loading torch."""
    if name in _HOME_OF:
        return getattr(importlib.import_module(f"dift_edit.evaluation.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'dift_edit.evaluation' has no attribute {name!r}")
