"""The floors and rooms of the package, and who imports whom: read from its files alone.

A floor is a line of the contract "floors" in `pyproject.toml`. A room is a package or a module of
a floor, or a package in it; a public module of `layers` is one, too: a mechanism of one file.
"""

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.meta.source import FILES, PACKAGE, ROOT, tree

Floors = list[list[str]]
"""From above, each with the names of what is side by side on it."""


def module_of(file: Path) -> str:
    """Return the dotted name of the module in `file`."""
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in FILES}
PACKAGES = {name for name, file in MODULES.items() if file.name == "__init__.py"}


def room_of(module: str) -> str:
    """Return the room that `module` is in."""
    parts = module.split(".")
    inner = ".".join(parts[:3])
    is_mechanism = parts[1:2] == ["layers"] and not parts[-1].startswith("_")
    return inner if inner in PACKAGES or is_mechanism else ".".join(parts[:2])


def imported(module: str) -> Iterator[str]:
    """Yield the modules of ours that `module` imports, wherever in it."""
    for node in ast.walk(tree(MODULES[module])):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


@cache
def rooms() -> dict[str, set[str]]:
    """Return every room with the rooms that it imports."""
    found: dict[str, set[str]] = {room_of(module): set() for module in MODULES}
    for module in MODULES:
        found[room_of(module)] |= {room_of(target) for target in imported(module)}
    imports = {room: others - {room} for room, others in sorted(found.items())}
    used = {target for targets in imports.values() for target in targets}
    # A package that only holds others is a frame around their rooms.
    return {
        room: targets
        for room, targets in imports.items()
        if targets or room in used or not any(one.startswith(f"{room}.") for one in imports)
    }


def floors() -> Floors:
    """Return the floors, the façade on one of its own just above what it imports."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = (
        one
        for one in settings["contracts"]
        if one["type"] == "layers" and one["containers"] == [PACKAGE.name]
    )
    named = [
        [f"{PACKAGE.name}.{one.strip(' ()')}" for one in floor.replace(":", "|").split("|")]
        for floor in contract["layers"]
    ]
    present = [[one for one in floor if one in MODULES] for floor in named]
    below = {".".join(room.split(".")[:2]) for room in rooms()[PACKAGE.name]}
    height = next(i for i, floor in enumerate(present) if below & set(floor))
    return [*present[:height], [PACKAGE.name], *present[height:]]


def on_floor(member: str) -> list[str]:
    """Return the rooms of what is named on a floor; the façade is a room without inner ones."""
    inner = f"{member}." if member != PACKAGE.name else f"{member}.__init__"
    return [room for room in rooms() if room == member or room.startswith(inner)]


def reach(room: str) -> set[str]:
    """Return all the rooms that `room` imports, itself or through others."""
    seen: set[str] = set()
    waiting = [room]
    while waiting:
        fresh = rooms()[waiting.pop()] - seen
        seen |= fresh
        waiting += fresh
    return seen


def arrows() -> list[tuple[str, str]]:
    """Return who imports whom, without what follows: none where a way over other rooms leads."""
    reached = {room: reach(room) for room in rooms()}

    def follows(room: str, target: str) -> bool:
        # A circle of rooms must not explain its own arrows away.
        return any(
            target in reached[other] and room not in reached[other] and other not in reached[target]
            for other in rooms()[room] - {target}
        )

    return [
        (room, target)
        for room, targets in rooms().items()
        for target in sorted(targets)
        if not follows(room, target)
    ]


def ranks(members: list[str]) -> list[list[str]]:
    """Return the rooms of one package in lines: who imports is above who is imported."""
    inside = {room: rooms()[room] & set(members) for room in members}

    def depth(room: str) -> int:
        # Who is imported by a room that it does not import back stands one line lower.
        above = [one for one in members if room in inside[one] and one not in reach(room)]
        return 1 + max(map(depth, above), default=-1)

    by_depth: dict[int, list[str]] = {}
    for room in members:
        by_depth.setdefault(depth(room), []).append(room)
    return [by_depth[line] for line in sorted(by_depth)]


def purpose(room: str) -> str:
    """Return the first sentence of what a room says of itself."""
    words = ast.get_docstring(tree(MODULES[room])) or ""
    return " ".join(words.split("\n\n")[0].split())


def table() -> str:
    """Return every room, what it is for, and every import, as a Markdown table."""
    lines = ["| room | what it is | imports |", "|---|---|---|"]
    for floor in floors():
        for room in (room for member in floor for room in on_floor(member)):
            targets = ", ".join(f"`{short(one)}`" for one in sorted(rooms()[room]))
            lines.append(f"| `{short(room)}` | {purpose(room)} | {targets or 'nothing of ours'} |")
    return "\n".join(lines)


def short(room: str) -> str:
    """Return a room's name without the package's, which all share."""
    return room.partition(".")[2] or room
