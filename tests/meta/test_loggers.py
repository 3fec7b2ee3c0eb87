"""Loggers are named by one scheme, and the documentation lists each of them."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.meta.architecture.rooms import MODULES, room_of
from tests.meta.source import ROOT, tree

ENGINE = {
    "acked._core": ("acked.subscription", "acked.channel", "acked.worker"),
    "acked._app": ("acked.schedule",),
    "acked._boxes": ("acked.outbox", "acked.inbox"),
}
"""Where users import from is another place: loggers are called after what they speak of."""


def loggers() -> Iterator[tuple[str, str]]:
    """Yield each module that has a logger, and its name; one that is not a literal as code."""
    for module, file in MODULES.items():
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in GETTERS:
                (name,) = node.args or [ast.Constant("")]
                yield module, ast.literal_eval(name) if isinstance(name, ast.Constant) else "?"


GETTERS = {"logging.getLogger", "getLogger"}


def allowed(module: str) -> tuple[str, ...]:
    """Return the names that a logger in `module` may have."""
    room = room_of(module)
    engine = [names for place, names in ENGINE.items() if f"{room}.".startswith(f"{place}.")]
    return engine[0] if engine else (room,)


@pytest.mark.parametrize(("module", "name"), list(loggers()), ids=lambda word: word)
def test_a_logger_is_named_after_where_users_import_from(module: str, name: str) -> None:
    assert name in allowed(module)
    assert not any(part.startswith("_") for part in name.split("."))


def test_the_documentation_lists_each_logger_and_no_other() -> None:
    page = (ROOT / "docs/reference/logging.md").read_text()
    listed = re.findall(r"^\| `([\w.]+)` \|", page, re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == {name for _, name in loggers()}


def test_the_library_leaves_handlers_and_levels_to_the_program() -> None:
    meddling = {"basicConfig", "addHandler", "setLevel", "dictConfig", "disable"}
    guilty = [
        f"{module}:{node.lineno}"
        for module, file in MODULES.items()
        if room_of(module).split(".")[1:2] not in (["cli"], ["conformance"])
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("logg")
        if ast.unparse(node.func).rpartition(".")[2] in meddling
    ]
    assert guilty == []
