"""Which tests must notice what happens to which modules: a room for each floor and each mechanism."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from compose.lifecycle import NAMES
from tests.mutation.mutants import PACKAGE, Mutant, mutants_of

ROOT: Final = Path(__file__).parents[2]

PARTS: Final = ("_core", "_machines", "_app", "_boxes", "cli", "codecs")
"""What is a room beside the mechanisms of `layers`."""

NOTICED_BY: Final = {
    "_core": (
        *("layers/memory_queue", "worker/test_answers.py", "core", "layers/test_memory.py"),
        *("conformance/test_memory.py", "conformance/test_memory_queue.py"),
    ),
    "_machines": ("machines",),
    "_app": ("worker/test_app.py", "worker"),
    "_boxes": ("boxes",),
    "cli": ("cli", "worker/test_run.py"),
    "codecs": ("codecs",),
    "_postgres": ("layers/postgres_notify", "layers/postgres_queue"),
    "redis_pubsub": ("layers/redis_pubsub", "layers/_redis"),
    "redis_streams": ("layers/_redis", "layers/redis_streams"),
    "_redis": ("layers/_redis", "layers/redis_pubsub", "layers/redis_streams"),
    "_shared": ("layers/test_urls.py", "layers/postgres_notify", "layers/mqtt", "layers/_redis"),
}
"""The rooms whose tests are not found by their name alone: paths under `tests`."""

QUICK_LAWS: Final = ("memory", "memory_queue", "sqlite_queue")
"""Mechanisms whose laws take no longer than their own tests; those of a broker take minutes."""


@dataclass(frozen=True)
class Room:
    """Modules, and the tests that must notice when one of them is changed."""

    name: str
    modules: tuple[Path, ...]
    """Relative to the checkout, as are the tests."""
    tests: tuple[str, ...]
    """The quickest first: the first that fails ends a run."""

    @property
    def broker(self) -> str:
        """The broker that it is named for, or nothing."""
        return next((one for one in NAMES if self.name.lstrip("_").startswith(one)), "")

    @property
    def has_brokers(self) -> bool:
        """Whether any of its tests waits for a server."""
        return any(broker in test for test in self.tests for broker in NAMES)

    def mutants(self) -> list[Mutant]:
        """Return every mutant of its modules, in the order of the source."""
        return [one for path in self.modules for one in mutants_of(path, (ROOT / path).read_text())]


def all_rooms() -> dict[str, Room]:
    """Return the rooms of the tree: a new mechanism has one without being entered here."""
    found = (Room(name, tuple(modules), tuple(_tests(name))) for name, modules in _parts())
    return {room.name: room for room in found if room.modules}


def _parts() -> Iterator[tuple[str, list[Path]]]:
    layers = ROOT / PACKAGE / "layers"
    for part in (*(ROOT / PACKAGE / one for one in PARTS), *sorted(layers.iterdir())):
        files = sorted(part.rglob("*.py")) if part.is_dir() else [part]
        if part.name not in ("__init__.py", "__pycache__"):
            yield part.stem, [file.relative_to(ROOT) for file in files]


def _tests(name: str) -> Iterator[str]:
    laws = [f"conformance/test_{name}.py"] if name in QUICK_LAWS else []
    for path in NOTICED_BY.get(name, (f"layers/{name}", f"layers/test_{name}.py", *laws)):
        if (ROOT / "tests" / path).exists():
            yield f"tests/{path}"
