from .base import Benchmark as Benchmark
from .base import Item as Item
from .metrics import corner_error as corner_error
from .metrics import homography_accuracy as homography_accuracy
from .metrics import matching_accuracy as matching_accuracy
from .metrics import pck as pck
from .metrics import transfer_iou as transfer_iou
from .options import BenchmarkOptions as BenchmarkOptions
from .runner import BENCHMARKS as BENCHMARKS
from .runner import Report as Report
from .runner import load_benchmark as load_benchmark
from .runner import load_report as load_report
from .runner import run_benchmark as run_benchmark
from .search import GridPoint as GridPoint
from .search import grid_search as grid_search
from .segmentation import contour_accuracy as contour_accuracy
from .segmentation import mean_jf as mean_jf
from .segmentation import region_similarity as region_similarity
from .tables import Difference as Difference
from .tables import bootstrap_difference as bootstrap_difference
from .tables import compare_reports as compare_reports
from .tables import format_table as format_table
from .tables import report_table as report_table

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "BenchmarkOptions",
    "Difference",
    "GridPoint",
    "Item",
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
