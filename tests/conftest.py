"""Fixtures for all tests."""

import contextlib
import gc
import os
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has a core of its own; read when torch and OpenMP are loaded
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Torch's triton and Mesa's software renderer each bring an LLVM, and the process ends where triton's comes second.
with contextlib.suppress(ImportError):
    import triton  # noqa: F401

import numpy as np
import pytest
from hypothesis import settings

import trials  # noqa: F401 - registers the profiles

settings.load_profile("ci")  # ``--hypothesis-profile thorough`` comes later and replaces it

SHARED = Path(__file__).parents[2] / "shared" / "data"


def pytest_collection_finish() -> None:
    """What the imports made, half a million objects, is never garbage: without it a search for garbage, of which each
    viewer makes several, takes no time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of test photographs beside a development checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"the test photographs are not at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def mini():
    """The embedded default: both networks, fused."""
    from dift_edit.features.registry import load_featurizer

    return load_featurizer("mini")


@pytest.fixture(scope="session")
def dift_mini(mini):
    """The embedded diffusion network alone."""
    return next(part for part in mini.featurizers if part.model.id == "dift-mini")


@pytest.fixture(scope="session")
def lite(mini):
    """The embedded classifier's network alone."""
    return next(part for part in mini.featurizers if part.model.id == "lite")


@pytest.fixture(scope="session")
def lite_by_name():
    """The embedded classifier's network as a user loads it; in the fusion it has settings of its own."""
    from dift_edit.features.registry import load_featurizer

    return load_featurizer("lite")


@pytest.fixture
def small_network(lite_by_name, monkeypatch):
    """What a page or an example tells a reader to run takes the classifier's network, to be quick."""
    from dataclasses import replace

    import dift_edit as de

    run_job = de.run_job
    monkeypatch.setenv("DIFT_EDIT_MODEL", "lite")
    monkeypatch.setattr(de, "load_featurizer", lambda *_args, **_settings: lite_by_name)
    monkeypatch.setattr(de, "run_job", lambda job, **more: run_job(replace(job, model="lite"), **more))
    return lite_by_name


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A folder with a network of random weights."""
    from batch_data import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def tiny(tiny_model):
    """The same, loaded."""
    from batch_data import SETTINGS
    from dift_edit.features.registry import load_featurizer

    return load_featurizer(tiny_model, **SETTINGS)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
