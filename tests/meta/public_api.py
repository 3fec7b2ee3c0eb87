"""What users can import, as text: `python -m tests.meta.public_api` writes it anew.

A change of `public_api.txt` is a change of the public surface: it belongs in the changelog.
"""

import enum
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

from tests.meta.source import public_modules

SNAPSHOT = Path(__file__).with_suffix(".txt")


def render() -> str:
    """Return the public surface, a line for each thing, module by module."""
    return "\n\n".join("\n".join(lines(import_module(name))) for name in public_modules()) + "\n"


def lines(module: ModuleType) -> Iterator[str]:
    """Yield a module's name and what it offers."""
    yield module.__name__
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        home = getattr(thing, "__module__", module.__name__)
        if isinstance(thing, type) and home != module.__name__:
            yield f"  {name} = {home}.{name}"
        elif isinstance(thing, type):
            yield from described(thing)
        else:
            yield f"  {name}: {kind(thing)}"


def described(one: type) -> Iterator[str]:
    """Yield a class and its own public members."""
    yield f"  class {one.__name__}{signature(one)}"
    for name, member in sorted(vars(one).items()):
        if not name.startswith("_"):
            yield f"    {name}{signature(member) or ': ' + kind(member)}"


def kind(thing: object) -> str:
    """Return a word for what `thing` is."""
    if isinstance(thing, enum.Enum):
        return repr(thing.value)
    if inspect.ismemberdescriptor(thing) or isinstance(thing, property):
        return "attribute"
    return getattr(thing, "__name__", None) or type(thing).__name__


def signature(thing: object) -> str:
    """Return the parameters of a function, method or class; empty if it has none."""
    called = getattr(thing, "__func__", thing)
    if (isinstance(called, type) and issubclass(called, enum.Enum)) or not callable(called):
        return ""
    try:
        return str(inspect.signature(called))
    except (ValueError, TypeError):
        return ""


if __name__ == "__main__":
    SNAPSHOT.write_text(render())
