"""The field's benchmarks and measures."""

from dift_edit.evaluation.base import BenchmarkOptions, DatasetError
from dift_edit.evaluation.metrics import corner_error, homography_accuracy, matching_accuracy, pck, transfer_iou
from dift_edit.evaluation.runner import BENCHMARKS, Report, load_report, run_benchmark
from dift_edit.evaluation.segmentation import contour_accuracy, mean_jf, region_similarity
from dift_edit.evaluation.tables import bootstrap_difference, compare_reports, format_table, report_table

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
    "homography_accuracy",
    "load_report",
    "matching_accuracy",
    "mean_jf",
    "pck",
    "region_similarity",
    "report_table",
    "run_benchmark",
    "transfer_iou",
]
