"""The caps that keep the code readable, and the conventions that keep it one hand's."""

import ast
import importlib
import inspect
from collections.abc import Iterator
from types import ModuleType

import pytest

import acked
import acked.errors
from docs._hooks import HEADINGS, Layer, headings, layers
from tests.meta.source import (
    FILES,
    PACKAGE,
    ROOT,
    Function,
    classes,
    decorators,
    functions,
    name_of,
    public_definitions,
    public_modules,
    tree,
)

VAGUE = {"manager", "helper", "helpers", "utils", "util", "base", "common", "handler", "handlers"}


def test_no_file_has_more_than_300_lines_without_an_argument_in_its_head() -> None:
    lengths = {file: len(file.read_text().splitlines()) for file in FILES}
    long = {name_of(file): lines for file, lines in lengths.items() if lines > 300}
    argued = {
        name_of(file)
        for file in FILES
        if "Longer than 300 lines:" in " ".join((ast.get_docstring(tree(file)) or "").split())
    }
    assert {name: lines for name, lines in long.items() if name not in argued} == {}
    assert argued <= long.keys()
    assert max(long.values(), default=0) <= 480


ORIGINAL = "the name that applications of both libraries import"
SAME_NAME = {"Channel": ORIGINAL, "Event": ORIGINAL, "Subscriber": ORIGINAL}


def test_no_two_classes_have_one_name_but_those_argued_for() -> None:
    places: dict[str, list[str]] = {}
    for place, one in classes():
        if "src/acked/" in place:
            places.setdefault(one.name, []).append(place)
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert {name: found for name, found in twice.items() if name not in SAME_NAME} == {}
    assert twice.keys() == SAME_NAME.keys()


PICTURES = ("Debt", "News", "Desk", "Ledger", "Seat", "Intake", "Ticket", "Bury", "Ghost")


def test_no_public_name_is_a_picture_instead_of_the_field_s_word() -> None:
    names = [
        (name, public)
        for name in public_modules()
        for public in getattr(importlib.import_module(name), "__all__", ())
    ]
    assert [pair for pair in names if any(word in pair[1] for word in PICTURES)] == []


def test_no_function_has_a_body_of_more_than_40_lines() -> None:
    assert {place: body_lines(node) for place, node in functions() if body_lines(node) > 40} == {}


def body_lines(function: Function) -> int:
    """Return the lines of a body, not counting its docstring."""
    documented = ast.get_docstring(function) is not None
    body = function.body[1:] if documented else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]


def test_no_class_has_more_than_12_public_methods() -> None:
    assert {place: methods(node) for place, node in classes() if len(methods(node)) > 12} == {}


def methods(one: ast.ClassDef) -> set[str]:
    """Return the public methods of a class; overloads are one, properties and laws are none."""
    found = (node for node in one.body if isinstance(node, Function))
    public = (f for f in found if not f.name.startswith(("_", "test_")))
    return {f.name for f in public if "property" not in decorators(f)}


ERRORS = {
    name: one
    for name, one in vars(acked.errors).items()
    if isinstance(one, type) and issubclass(one, BaseException)
}


def test_there_are_at_most_15_exception_classes_and_one_warning() -> None:
    warnings = {name for name, one in ERRORS.items() if issubclass(one, Warning)}
    assert warnings == {"UnsettledWarning"}
    assert len(ERRORS.keys() - warnings) <= 15
    assert ERRORS.keys() <= vars(acked).keys()


def test_no_exception_is_defined_outside_the_tree_of_errors() -> None:
    parents = ERRORS.keys() | {"Exception"}
    elsewhere = {place for place, one in classes() if parents & set(map(ast.unparse, one.bases))}
    # What `acked.compat` offers has the names and kinds of another library.
    ours = {place for place in elsewhere if "src/acked/compat/" not in place}
    # What a handler raises to say what becomes of a message is no error.
    ours = {place for place in ours if not place.endswith("HandlerVerdict")}
    assert {place for place in ours if "src/acked/errors.py:" not in place} == set()


def test_the_tree_of_errors_is_drawn_whole() -> None:
    assert [name for name in ERRORS if name not in (acked.errors.__doc__ or "")] == []


def test_no_module_has_a_vague_name() -> None:
    ours = [file for file in FILES if "compat" not in file.parts]
    assert [name_of(file) for file in ours if file.stem.lstrip("_") in VAGUE] == []


@pytest.mark.parametrize("name", public_modules())
def test_a_public_module_offers_what_it_has(name: str) -> None:
    module = importlib.import_module(name)
    offered = getattr(module, "__all__", ())
    assert isinstance(offered, tuple)
    assert len(set(offered)) == len(offered)
    assert [name for name in offered if not hasattr(module, name)] == []


def test_the_facade_offers_exactly_what_it_imports_in_order() -> None:
    names = {
        name
        for name, thing in vars(acked).items()
        if not name.startswith("_") and not isinstance(thing, ModuleType)
    }
    assert isinstance(acked.__all__, tuple)
    assert set(acked.__all__) == names
    assert list(acked.__all__) == sorted(acked.__all__, key=lambda name: (not name.isupper(), name))


def test_what_users_see_has_the_path_they_import() -> None:
    hidden = {name: getattr(vars(acked)[name], "__module__", "acked") for name in acked.__all__}
    assert {name: path for name, path in hidden.items() if "._" in path} == {}
    for name, path in hidden.items():
        assert hasattr(importlib.import_module(path), name)


USERS_OF_THE_PUBLIC_API = {PACKAGE / name for name in ("cli", "demo", "conformance", "compat")}


def test_no_module_below_the_public_api_imports_the_package_root() -> None:
    guilty = [
        name_of(file)
        for file in FILES
        for name in imported(tree(file))
        if name == "acked" and USERS_OF_THE_PUBLIC_API.isdisjoint(file.parents)
    ]
    assert guilty == []


def imported(module: ast.Module) -> Iterator[str]:
    """Yield the modules that a module imports, wherever in it."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("layer", layers(), ids=lambda layer: layer.schemes[0])
def test_a_layer_tells_what_it_does_under_the_six_headings(layer: Layer) -> None:
    assert tuple(headings(layer.paragraphs)) == HEADINGS
    assert layer.paragraphs[0].count("\n") == 0
    assert inspect.getdoc(layer.kind)


def test_every_layer_module_is_registered() -> None:
    files = {f"acked.layers.{place.stem}" for place in (PACKAGE / "layers").glob("[!_]*")}
    assert {layer.module for layer in layers()} == files


def test_everything_public_has_a_docstring() -> None:
    bare = [
        f"{name_of(file)}:{node.lineno} {node.name}"
        for file in FILES
        for node in public_definitions(tree(file).body)
        if not ast.get_docstring(node) and "overload" not in decorators(node)
    ]
    assert bare == []
    assert [name_of(file) for file in FILES if not ast.get_docstring(tree(file))] == []


def test_nothing_is_left_to_do() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X")
    folders = ("src", "tests", "compose", "benchmarks", "docs")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.[pm][yd]")]
    left = [name_of(f) for f in files if any(mark in f.read_text() for mark in marks)]
    assert left == []
