"""The examples in the docstrings of the main functions run as they are printed, on the bundled samples."""

import doctest
import inspect

import pytest

import dift_edit as de
from dift_edit.evaluation import run_benchmark

MAIN = [
    de.Sticker, de.edit_from_difference, de.load_featurizer, de.load_image, de.locate, de.match_points, de.propagate,
    de.propagate_sequence, de.run_batch, de.transfer, run_benchmark,
]  # fmt: skip


@pytest.mark.parametrize("public", MAIN, ids=lambda public: public.__name__)
def test_the_example_runs(public, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = inspect.getdoc(public)
    assert "\nExamples\n--------\n>>> " in text
    example = doctest.DocTestParser().get_doctest(text, {}, public.__name__, None, 0)
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example)
    assert results.attempted and not results.failed
