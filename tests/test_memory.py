import os
import subprocess
import sys

import pytest
import torch

from dift_edit.features import memory
from dift_edit.features.execution import AdaptiveBatch, Runtime

COUNT_NEW_PAGES = """
import resource
import torch
from dift_edit.features.memory import kept_memory

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):  # tensors of 40 MiB come and go
        x = torch.ones(10 << 20)
        y = x + 1
        z = y * 2
        z.relu()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = new_pages()
with kept_memory():
    kept = new_pages()
print(kept, usual)
"""


@pytest.mark.slow
@pytest.mark.skipif(memory._glibc() is None, reason="only the GNU C library, not tuned by the environment, is told")
def test_the_system_hands_out_fewer_pages_within_the_block():
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}  # dask sets some
    ran = subprocess.run(
        [sys.executable, "-c", COUNT_NEW_PAGES], capture_output=True, text=True, check=True, env=environment
    )
    kept, usual = map(int, ran.stdout.split())
    assert kept < 0.5 * usual  # 0.05 to 0.14 in 8 runs: it depends on how the heap happens to lie


def test_an_environment_that_tunes_malloc_is_left_alone(monkeypatch):
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "1000000")
    assert memory._glibc() is None


def test_batches_give_the_same_within_kept_memory():
    samples = torch.arange(5)
    for keep in (False, True):
        parts = list(AdaptiveBatch(2, keep_memory=keep)(5, lambda part: samples[part] * 2))
        assert torch.equal(torch.cat([result for _, result in parts]), samples * 2)


def test_only_large_networks_keep_memory(monkeypatch):
    network = torch.nn.Linear(10, 10)
    assert not Runtime().batches(network).keep_memory
    monkeypatch.setattr("dift_edit.features.execution.SMALL", 109)
    assert Runtime().batches(network).keep_memory
