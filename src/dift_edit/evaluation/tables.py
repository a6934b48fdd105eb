"""Tables of results as text, Markdown and CSV, and the comparison of several results."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

from dift_edit.errors import DatasetError
from dift_edit.evaluation.runner import Report

__all__ = ["Difference", "bootstrap_difference", "compare_reports", "format_table", "report_table"]

Table = list[list[str]]


def _number(value: float, digits: int = 1) -> str:
    return "–" if value is None or math.isnan(value) else "∞" if math.isinf(value) else f"{value:.{digits}f}"


def report_table(report: Report) -> Table:
    """Header and rows of a report: one row a category, the last one over everything."""
    names = list(report.rows["all"])
    rows = [[name, *(_number(row[column]) for column in names)] for name, row in report.rows.items()]
    return [["", *names], *rows]


def format_table(table: Table, kind: str = "text") -> str:
    """A table as "text" (aligned columns), "markdown" or "csv".

    Raises
    ------
    DatasetError
        If the kind is unknown.
    """
    if kind == "csv":
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(table)
        return out.getvalue()
    if kind == "markdown":
        header, *rows = [[cell.replace("|", "\\|") for cell in row] for row in table]
        align = ["---", *["---:"] * (len(header) - 1)]
        return "".join(f"| {' | '.join(row)} |\n" for row in (header, align, *rows))
    if kind != "text":
        raise DatasetError(f"There is no table format {kind!r}: use text, markdown or csv.")
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Difference:
    """A paired difference of means.

    Attributes
    ----------
    mean : float
        First less second, over the items that both scored.
    low, high : float
        95 % interval of the bootstrap.
    p : float
        Two-sided: how often a resampled difference has the other sign, doubled; at least 2 / (resamples + 1).
    count : int
        Number of items.
    """

    mean: float
    low: float
    high: float
    p: float
    count: int


def bootstrap_difference(
    first: Sequence[float], second: Sequence[float], *, resamples: int = 10000, seed: int = 0
) -> Difference:
    """Paired bootstrap of the mean difference of two models' scores on the same items.

    Parameters
    ----------
    first, second : sequence of float
        Scores of the same items, in the same order.
    resamples : int
        Number of resampled sets of items.
    seed : int
        Of the resampling.

    Returns
    -------
    Difference

    Raises
    ------
    DatasetError
        If the lists differ in length or are empty.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 16.
    """
    if len(first) != len(second) or not len(first):
        raise DatasetError(f"A paired comparison needs the same items, but got {len(first)} and {len(second)} scores.")
    gaps = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    if np.ptp(gaps) == 0:  # each resampled set has the same mean
        gap = float(gaps[0])
        return Difference(gap, gap, gap, 1.0 if gap == 0 else 2 / (resamples + 1), len(gaps))
    result = scipy.stats.bootstrap(
        (gaps,),
        np.mean,
        n_resamples=resamples,
        method="percentile",
        batch=max(1, 2_000_000 // len(gaps)),
        rng=np.random.default_rng(seed),
    )
    means, (low, high) = result.bootstrap_distribution, result.confidence_interval
    tail = min((means <= 0).sum(), (means >= 0).sum()) + 1
    return Difference(float(gaps.mean()), float(low), float(high), min(1.0, 2 * tail / (resamples + 1)), len(gaps))


def compare_reports(reports: dict[str, Report], *, seed: int = 0) -> Table:
    """One row a model, best first, with the paired difference to the best one.

    Parameters
    ----------
    reports : dict
        Name → report; all of one benchmark.
    seed : int
        Of the bootstrap.

    Returns
    -------
    list of rows
        Strings, the header first.

    Raises
    ------
    DatasetError
        If the reports are of different benchmarks or data, or share no item.
    """
    kinds = {
        (report.benchmark, report.settings["options"]["split"], report.settings["options"]["threshold"])
        for report in reports.values()
    }
    if len(kinds) != 1:
        raise DatasetError(f"Results of different benchmarks or splits cannot be compared: {sorted(kinds)}.")
    shared = set.intersection(
        *({key for key, score in report.scores.items() if score["value"] is not None} for report in reports.values())
    )
    if not shared:
        raise DatasetError("The results have no item in common: run them with the same --limit and --seed.")
    keys = sorted(shared)
    order = sorted(reports, key=lambda name: -_rank(reports[name]))
    best = reports[order[0]]
    columns = list(best.rows["all"])
    table = [["model", *columns, "difference to the best (95 % interval)", "p", "items"]]
    for name in order:
        report = reports[name]
        cells = [name, *(_number(report.rows["all"].get(column, math.nan)) for column in columns)]
        if report is best:
            table.append([*cells, "", "", str(len(keys))])
            continue
        gap = bootstrap_difference(
            [report.scores[key]["value"] for key in keys], [best.scores[key]["value"] for key in keys], seed=seed
        )
        interval = f"{100 * gap.mean:+.1f} ({100 * gap.low:+.1f} … {100 * gap.high:+.1f})"
        table.append([*cells, interval, f"{gap.p:.4f}", str(gap.count)])
    return table


def _rank(report: Report) -> float:
    return -math.inf if math.isnan(report.value) else report.value
