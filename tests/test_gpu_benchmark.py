"""The benchmark of GPUs works on a processor alone, at toy sizes."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_benchmark", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def results(folder: Path) -> dict:
    return json.loads((folder / "gpu.json").read_text())


@pytest.mark.slow
def test_every_section_runs_on_a_processor(gpu: ModuleType, tmp_path: Path) -> None:
    assert gpu.main(["--smoke", "--device", "cpu", "--out", str(tmp_path), "--budget", "6000"]) == 0
    found = results(tmp_path)
    assert set(found["sections"]) == set(gpu.SECTIONS) - {"propagate_more"} and not found["skipped"]
    rows = [row for section in found["sections"].values() for row in section]
    assert not [row for row in rows if "failed" in row]
    both = [row for row in found["sections"]["sd21"] if row["what"] in ("released", "ours")]
    assert {row["dtype"] for row in both} == set(gpu.FORMATS) and all(row["images/s"] > 0 for row in both)
    released = [row for row in both if row["what"] == "released"]
    assert released and all(row["relative difference"] < 1e-4 for row in released)
    half = [row for row in both if row["dtype"] == "float16"]
    assert all(0 < row["relative difference"] < 0.02 for row in half)
    same = [row["same within a pixel"] for row in found["sections"]["matching"] if row.get("same within a pixel")]
    assert len(same) == 4 and min(same) == 1
    text = (tmp_path / "performance-gpu.md").read_text()
    assert all(f"## {gpu.TITLES[name]}" in text for name in found["sections"])


def test_an_error_is_a_row_and_the_other_sections_go_on(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(session: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 61 GiB\nmore lines")

    monkeypatch.setitem(gpu.SECTIONS, "card", broken)
    assert gpu.main(["--smoke", "--device", "cpu", "--out", str(tmp_path), "--sections", "card", "matching"]) == 0
    found = results(tmp_path)["sections"]
    assert found["card"] == [{"what": "card", "failed": "RuntimeError: CUDA out of memory. Tried to allocate 61 GiB"}]
    assert len(found["matching"]) > 4 and "61 GiB" in (tmp_path / "performance-gpu.md").read_text()


def test_what_the_budget_leaves_out_is_named(gpu: ModuleType, tmp_path: Path) -> None:
    assert gpu.main(["--smoke", "--device", "cpu", "--out", str(tmp_path), "--budget", "0"]) == 0
    found = results(tmp_path)
    assert not found["sections"] and [text.partition(":")[0] for text in found["skipped"]] == list(gpu.SECTIONS)
    assert "- matching: all of it" in (tmp_path / "performance-gpu.md").read_text()
