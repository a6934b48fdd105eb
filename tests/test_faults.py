"""Faults of the machine: memory that really runs out, and bits that flip inside intact files of weights."""

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import dift_edit as de
from batch_data import picture, save_tiny_model
from dift_edit.cli import main
from dift_edit.errors import ModelError
from dift_edit.features.execution import is_out_of_memory
from dift_edit.features.sources import EMBEDDED
from dift_edit.features.weights import SUMS, weights_digest, write_sums

WEIGHTS = Path("unet") / "diffusion_pytorch_model.safetensors"

ENSEMBLE = """
import resource
from pathlib import Path
import numpy as np, torch
import dift_edit as de
featurizer = de.load_featurizer("dift-mini", ensemble=8, short_sides=(64,))
picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
sizes = []
def need_a_gibibyte_a_sample(module, args):
    sizes.append(len(args[0]))
    torch.empty(len(args[0]) << 30, dtype=torch.uint8)
expected = featurizer(picture).data
featurizer.unet.register_forward_pre_hook(need_a_gibibyte_a_sample)
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 3 * 2**30, now + 3 * 2**30))
torch.testing.assert_close(featurizer(picture).data, expected, rtol=1e-5, atol=1e-5)
print(*sizes)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit is set through Linux's /proc")
def test_an_ensemble_goes_on_in_smaller_batches_when_memory_really_runs_out():
    """The kernel refuses memory beyond 3 GiB; a pass takes 1 GiB for each of its samples."""
    done = subprocess.run(
        [sys.executable, "-c", ENSEMBLE], capture_output=True, text=True, check=False, env=one_thread()
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["8", "4", "2", "2", "2", "2"]


def one_thread():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(de.__file__).parents[1])}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("could not create a primitive"), True),  # oneDNN's word for it
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_errors_that_mean_that_memory_ran_out(error, expected):
    assert is_out_of_memory(error) is expected


def flip(path, share=0.7):
    """Change one bit of the numbers in a safetensors file; it stays a readable file of the same shapes."""
    data = bytearray(path.read_bytes())
    start = 8 + struct.unpack("<Q", data[:8])[0]
    data[start + int(share * (len(data) - start))] ^= 0x40
    path.write_bytes(data)
    load_file(path)


@pytest.fixture
def model(tmp_path):
    folder = save_tiny_model(tmp_path / "model")
    write_sums(folder / "unet")
    return folder


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_flipped_bit_in_weights_is_named(share, model, capsys):
    before = de.load_featurizer(model, short_sides=(32,), layers=("up_blocks.0",))
    assert before.model.sha256 in (model / "unet" / SUMS).read_text()
    assert main(["models", "check", str(model)]) == 0
    flip(model / WEIGHTS, share)
    with pytest.raises(ModelError, match=r"diffusion_pytorch_model\.safetensors are damaged: .*SHA256SUMS") as caught:
        de.load_featurizer(model)
    assert "\n" not in str(caught.value)
    capsys.readouterr()
    assert main(["models", "check", str(model)]) == 1
    assert "DAMAGED" in capsys.readouterr().out


def test_the_embedded_model_records_its_digest(tmp_path):
    assert weights_digest(EMBEDDED / "dift-mini/unet") == (EMBEDDED / "dift-mini/unet" / SUMS).read_text().split()[0]
    copy = tmp_path / "mini"
    shutil.copytree(EMBEDDED / "dift-mini", copy)
    flip(next(copy.rglob("*.safetensors")))
    with pytest.raises(ModelError, match="damaged"):
        de.load_featurizer(copy)


def test_a_damaged_file_in_the_hub_s_cache_is_found(model, capsys):
    """The hub's cache names large files by their digest; they are trusted when loaded, and read by the check."""
    (model / "unet" / SUMS).unlink()
    digest = weights_digest(model / "unet")
    (model / "blobs").mkdir()
    blob = (model / WEIGHTS).rename(model / "blobs" / digest)
    (model / WEIGHTS).symlink_to(blob)
    assert main(["models", "check", str(model)]) == 0
    flip(blob)
    assert main(["models", "check", str(model)]) == 1
    assert "DAMAGED" in capsys.readouterr().out


def test_changed_weights_may_be_used_once_the_record_is_removed(model):
    flip(model / WEIGHTS)
    (model / "unet" / SUMS).unlink()
    features = de.load_featurizer(model, short_sides=(32,), layers=("up_blocks.0",))(picture(1))
    assert features.data.shape[0]


@pytest.mark.parametrize("content", ["nonsense\n", "123  diffusion_pytorch_model.safetensors\n"])
def test_a_damaged_record_is_named(content, model):
    (model / "unet" / SUMS).write_text(content)
    with pytest.raises(ModelError, match="SHA256SUMS is not a list"):
        de.load_featurizer(model)
