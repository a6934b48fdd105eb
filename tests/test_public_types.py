"""Public signatures: what is returned can be imported, `Any` has a reason, a wrong keyword is an error."""

import importlib
import inspect
import logging
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

import dift_edit as de
from dift_edit import errors
from dift_edit.batch import propagate, run_batch
from dift_edit.clips import propagate_keypoints, propagate_labels
from dift_edit.matching import MatchSettings, match_points
from dift_edit.pipeline import transfer
from dift_edit.placement import locate_instances
from dift_edit.samples import FOLDER
from dift_edit.settings import TransferSettings

PACKAGES = [
    "annotations", "batch", "clips", "edits", "errors", "evaluation", "features", "geometry", "imaging", "job",
    "matching", "placement", "rendering", "results", "samples", "settings", "targets", "viz",
]  # fmt: skip

REASONS = {
    "**": "names of settings or of classes that come with the model",
    "data": "plain data, as JSON gives it",
    "stored": "plain data, as JSON gives it",
    "coco": "plain data, as JSON gives it, or a path",
    "unet": "diffusers gives no types",
    "vae": "diffusers gives no types",
    "scheduler": "diffusers gives no types",
    "network": "diffusers and transformers give no types",
    "featurizer": "one of those that have blocks to search, which no protocol describes",
    "default": "of a field, whatever its type",
    "*": "what torch.Tensor.to takes, or parts of a digest",
    "dtype": "of NumPy's protocol",
}
"""Name of a parameter (stars for variadic ones) → why it may be `Any`."""


def public() -> dict[str, object]:
    found = {}
    for package in PACKAGES:
        module = importlib.import_module(f"dift_edit.{package}")
        for name in module.__all__:
            found[f"{package}.{name}"] = getattr(module, name)
    return found | {f"dift_edit.{name}": getattr(de, name) for name in de.__all__}


PUBLIC = public()


def callables() -> Iterator[tuple[str, object]]:
    """Public functions, and methods and properties of public classes."""
    for name, each in PUBLIC.items():
        if inspect.isfunction(each):
            yield name, each
        elif inspect.isclass(each) and each.__module__.startswith("dift_edit"):
            for key, value in vars(each).items():
                call = getattr(value, "__func__", getattr(value, "fget", value))
                shown = not key.startswith("_") or key in ("__init__", "__call__")
                if inspect.isfunction(call) and shown and call.__module__.startswith("dift_edit"):
                    yield f"{name}.{key}", call


def parts(annotation: object) -> Iterator[object]:
    yield annotation
    if typing.get_origin(annotation) is typing.Literal:
        return  # words, not types
    for each in typing.get_args(annotation):
        yield from parts(each)


@pytest.mark.parametrize(("name", "call"), list(callables()), ids=lambda value: value if isinstance(value, str) else "")
def test_what_a_public_function_returns_can_be_imported(name, call):
    """Each class of ours in a return annotation is in the list of a public package."""
    known = {id(each) for each in PUBLIC.values()}
    names = {key.partition(".")[2] for key in PUBLIC}
    for part in parts(inspect.signature(call).return_annotation):
        if isinstance(part, str | typing.ForwardRef):
            for text in getattr(part, "__forward_arg__", part).split(" | "):
                other = text in ("None", "Path", "torch.Tensor")  # torch is imported where it is needed
                assert text in names or other, f"{name} returns {text}, which no public package has"
        elif inspect.isclass(part) and part.__module__.startswith("dift_edit"):
            assert id(part) in known, f"{name} returns {part.__qualname__}, which no public package has"


@pytest.mark.parametrize(("name", "call"), list(callables()), ids=lambda value: value if isinstance(value, str) else "")
def test_any_in_a_public_signature_has_a_reason(name, call):
    signature = inspect.signature(call)
    for parameter in signature.parameters.values():
        if parameter.annotation is typing.Any:
            key = {parameter.VAR_KEYWORD: "**", parameter.VAR_POSITIONAL: "*"}.get(parameter.kind, parameter.name)
            assert key in REASONS, f"{name}: {parameter.name} is Any"
    if signature.return_annotation is typing.Any:
        assert name in ("settings.option", "settings.value_of"), f"{name} returns Any"


@pytest.mark.parametrize(
    "call",
    [
        transfer, propagate, match_points, locate_instances, propagate_labels, propagate_keypoints,
        run_batch, de.locate, de.propagate_sequence,
    ],
)  # fmt: skip
def test_a_mistyped_keyword_is_a_type_error_at_the_call(call):
    with pytest.raises(TypeError, match="min_confidense"):
        call(None, None, None, featurizer=None, min_confidense=0.5)


@pytest.mark.parametrize("call", [transfer, propagate])
def test_keywords_are_the_fields_of_the_settings(call):
    """A new setting is a keyword of both, so that it can be given without a settings object."""
    assert inspect.signature(call).parameters.keys() >= set(TransferSettings.__dataclass_fields__)


def test_keywords_of_a_match_are_the_fields_of_its_settings():
    assert inspect.signature(match_points).parameters.keys() >= set(MatchSettings.__dataclass_fields__)


def test_a_wrong_value_is_a_settings_error():
    image = de.load_image(FOLDER / "cat.jpg")
    sticker = de.Sticker(image, at=(10, 10, 20, 20))
    with pytest.raises(errors.SettingsError, match="engine is 'mech'"):
        transfer(image, sticker, image, featurizer=None, engine="mech")


def test_the_tree_of_errors_is_the_one_in_the_docstring():
    shown, above = {}, {}
    for line in errors.__doc__.splitlines():
        stem, _, rest = line.partition("── ")
        word = (rest or stem).split()
        if word and word[0] in errors.__all__:
            depth = len(stem) // 4 if rest else 0
            above[depth] = word[0]
            shown[word[0]] = above.get(depth - 1, "Exception") if rest else "Exception"
    assert shown.keys() == set(errors.__all__)
    depth_first = {name: getattr(errors, name).__mro__[1].__name__ for name in errors.__all__}
    assert shown == depth_first


def test_the_library_does_not_configure_logging():
    """As the standard library's how-to asks: one NullHandler at the top, levels and other handlers are the caller's."""
    logger = logging.getLogger("dift_edit")
    assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]
    assert logger.level == logging.NOTSET and logger.propagate


def test_the_reference_has_every_public_class_and_function():
    """Each entry of docs/api.md exists, and each public class or function has one; constants are left out."""
    page = (Path(__file__).parents[1] / "docs" / "api.md").read_text()
    listed = {}
    for place in re.findall(r"^::: (dift_edit\.\S+)$", page, re.M):
        if place not in ("dift_edit.types", "dift_edit.errors"):
            module, _, name = place.rpartition(".")
            listed[name] = getattr(importlib.import_module(module), name)
    for key, each in PUBLIC.items():
        package, _, name = key.partition(".")
        if package not in ("dift_edit", "errors", "settings", "samples") and inspect.getmodule(each) is not None:
            shown = inspect.isclass(each) or inspect.isfunction(each)
            assert not shown or listed.get(name) is each, f"{key} is not in docs/api.md"
