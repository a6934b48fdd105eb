"""The manifest as JSON lines and as a Parquet table."""

import io
import json
import subprocess
import sys
from dataclasses import asdict

import pytest

from dift_edit.results.manifest import Row, manifest_jsonl, manifest_parquet

HARD = [
    Row(
        id="a\udcff", target='line\n"quoted" back\\slash', status="applied", confidence=0.1 + 0.2, seed=2**63 - 1,
        quad=[[0.5, 1], [2, 1], [2, 3], [0, 3]], mirrored=True, note="2026-01-01", seconds=1e-9,
    ),
    Row(id="b", target="b.png", status="failed", reason="x" * 3_000_000),
]  # fmt: skip


def test_parquet_holds_what_the_lines_hold():
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(io.BytesIO(manifest_parquet(HARD))).to_pylist()
    lines = [json.loads(line) for line in manifest_jsonl(HARD).splitlines()]
    for row, line in zip(table, lines, strict=True):
        line["id"] = line["id"].replace("\udcff", "\\udcff")
        assert row == {key: json.dumps(v) if isinstance(v, list | dict) else v for key, v in line.items()}
    empty = parquet.read_table(io.BytesIO(manifest_parquet([])))
    assert empty.num_rows == 0 and set(empty.column_names) == set(asdict(HARD[0])) - {"look"}


def test_parquet_is_written_without_pandas():
    pytest.importorskip("pyarrow")
    code = (
        "import sys; from dift_edit.results.manifest import Row, manifest_parquet; "
        "manifest_parquet([Row(id='a', target='a', status='applied')]); assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
