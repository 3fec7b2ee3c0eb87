"""The ways of `ways.toml`: found in the code, checked against it, drawn."""

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec

from tests.meta.architecture.rooms import MODULES, floors, room_of, short
from tests.meta.architecture.svg import Box, document, labelled, path, text
from tests.meta.source import Function, tree

LETTER = 8
ROW = 30
TOP = 52


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step as it is written in `ways.toml`."""

    at: str
    does: str
    by: str = ""
    via: str = ""
    seam: str = ""

    @property
    def owner(self) -> str:
        """The class of a method; what is alone owns itself."""
        return self.at.partition(".")[0]

    @property
    def function(self) -> str:
        """The name that a caller uses."""
        return self.at.rpartition(".")[2]


class Way(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A way as it is written, each step with the one that leads to it."""

    name: str
    title: str
    steps: list[Step]

    def links(self) -> Iterator[tuple[Step | None, Step]]:
        """Yield each step after the one that leads to it; the first after None."""
        before: Step | None = None
        for n, step in enumerate(self.steps):
            named = step.seam or step.by
            if named:
                (before,) = (one for one in self.steps[:n] if one.at == named)
            yield before, step
            before = step


class WrongStep(Exception):
    """Say which step the code does not take, and why not."""


def ways() -> list[Way]:
    """Return the ways in the order of the file."""
    written = tomllib.loads((Path(__file__).parent / "ways.toml").read_text())
    return msgspec.convert(written["way"], list[Way])


@cache
def find(at: str) -> tuple[str, Function | ast.ClassDef]:
    """Return the module in which `at` is defined, below the façade, and its definition."""
    owner, _, method = at.partition(".")
    found = [
        (module, node)
        for module, file in MODULES.items()
        if module.split(".")[:2] in below_the_facade()
        for node in tree(file).body
        if isinstance(node, Function | ast.ClassDef) and node.name == owner
    ]
    if len(found) != 1:
        where = ", ".join(module for module, _ in found) or "nowhere"
        raise WrongStep(
            f"{at}: {owner} is defined {where}; correct tests/meta/architecture/ways.toml"
        )
    module, node = found[0]
    if not method:
        return module, node
    for member in node.body:
        if isinstance(member, Function) and member.name == method:
            return module, member
    raise WrongStep(f"{at}: {module} has {owner}, which has no {method}")


@cache
def below_the_facade() -> list[list[str]]:
    """Return the floors' members that the engine and the layers are made of, as dotted parts."""
    plan = floors()
    return [one.split(".") for floor in plan[plan.index(["acked"]) + 1 :] for one in floor]


def names(node: ast.AST) -> set[str]:
    """Return what `node` mentions, bare names and attributes, without a leading underscore."""
    found = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
    found |= {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    return {name.lstrip("_") for name in found}


def called(node: ast.AST) -> set[str]:
    """Return the names of what `node` calls."""
    calls = [one.func for one in ast.walk(node) if isinstance(one, ast.Call)]
    return {one.attr for one in calls if isinstance(one, ast.Attribute)} | {
        one.id for one in calls if isinstance(one, ast.Name)
    }


def check(before: Step | None, step: Step) -> None:
    """Raise `WrongStep` unless the code leads from `before` to `step` as it is written."""
    here = find(step.at)[1]
    if before is None:
        return
    there = find(before.at)[1]
    if step.seam:
        if "Protocol" not in ast.unparse(find(before.owner)[1]).partition(":")[0]:
            raise WrongStep(f"{step.at}: {before.owner} is no protocol")
        if before.function != step.function:
            raise WrongStep(f"{step.at} is no implementation of {before.at}")
    elif step.via:
        if not all(step.via.lstrip("_") in names(node) for node in (here, there)):
            raise WrongStep(f"{step.at}: {before.at} and it do not share {step.via}")
    elif step.function not in called(there):
        raise WrongStep(f"{step.at}: {before.at} does not call it")


def draw(way: Way) -> str:
    """Return a way as a picture: a lane for each class, time going down."""
    lanes = list(dict.fromkeys(step.owner for step in way.steps))
    wide = 8 + LETTER * max(map(len, lanes))
    middle = {lane: 10 + wide * (n + 0.5) for n, lane in enumerate(lanes)}
    height = TOP + ROW * len(way.steps) + 20
    shapes = [
        f'<path class="life" d="M{x:g} {TOP - 8} V{height - 10:g}"/>' for x in middle.values()
    ]
    for lane, x in middle.items():
        shapes.append(labelled(Box(x - wide / 2 + 4, 8, wide - 8, 22), lane))
        shapes.append(text(x, 42, short(room_of(find(lane)[0])), "small", "middle"))
    for n, (before, step) in enumerate(way.links(), 1):
        start = middle[before.owner] if before else middle[step.owner]
        shapes += _step(n, step, start, middle[step.owner], TOP + ROW * n - 6)
    return document(20 + wide * len(lanes), height, way.title, shapes)


def _step(n: int, step: Step, start: float, end: float, y: float) -> Iterator[str]:
    words = f"{n} {step.function}"
    kind = "handed" if step.via or step.seam else ""
    if start == end:
        yield path(f"M{start:g} {y - 8:g} h16 v10 h-14", step.does, kind)
        yield text(start + 20, y, words)
    else:
        side = 1 if end > start else -1
        yield path(f"M{start:g} {y:g} H{end - side:g}", step.does, kind)
        yield text((start + end) / 2, y - 4, words, "", "middle")


def table(way: Way) -> str:
    """Return the steps of a way in words."""
    lines = ["| | where | after | what happens |", "|---|---|---|---|"]
    numbers = {step.at: n for n, step in enumerate(way.steps, 1)}
    for before, step in way.links():
        place = f"`{find(step.at)[0].partition('.')[2]}:{step.at}`"
        after = ""
        if before:
            kind = (
                "implements" if step.seam else f"through `{step.via}`" if step.via else "called by"
            )
            after = (
                f"{kind} {numbers[before.at]}" if not step.via else f"{numbers[before.at]}, {kind}"
            )
        lines.append(f"| {numbers[step.at]} | {place} | {after} | {step.does} |")
    return "\n".join(lines)
