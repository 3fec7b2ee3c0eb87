"""What users can import, as text: `python -m tests.meta.public_api` writes it anew.

Read from the source, so that it is the same under every version of Python. A change of
`public_api.txt` is a change of the public surface: it belongs in the changelog.
"""

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import acked
from tests.meta.source import FILES, Function, decorators, public_modules, tree

SNAPSHOT = Path(__file__).with_suffix(".txt")


def render() -> str:
    """Return the public surface, module by module."""
    modules = map(import_module, public_modules())
    return "\n\n".join("\n".join(surface(module)) for module in modules) + "\n"


def surface(module: ModuleType) -> Iterator[str]:
    """Yield a module's name and what it offers; what another public one defines by its path."""
    yield module.__name__
    for name in offered(module):
        thing = getattr(module, name)
        home = getattr(thing, "__module__", module.__name__)
        if not inspect.isclass(thing):
            yield f"  {name}"
        elif home != module.__name__:
            yield f"  {name} from {home}"
        else:
            yield from described(thing)


def offered(module: ModuleType) -> list[str]:
    """Return the public names of `module`."""
    classes = inspect.getmembers(module, inspect.isclass)
    own = (name for name, one in classes if one.__module__ == module.__name__)
    return sorted(getattr(module, "__all__", own))


def described(one: type) -> Iterator[str]:
    """Yield a class, its constructor and its public members."""
    node = definition(one)
    yield f"  class {node.name}({', '.join(map(ast.unparse, [*node.bases, *node.keywords]))})"
    for member in node.body:
        if isinstance(member, Function):
            yield from method(member)
        elif isinstance(member, ast.Assign | ast.AnnAssign):
            yield from variable(member)


def definition(one: type) -> ast.ClassDef:
    """Return where a class is written: its module, or behind the façade the engine."""
    home = import_module(one.__module__)
    engine = [file for file in FILES if {"_app", "_core", "_machines"} & set(file.parts)]
    files = engine if home is acked else [Path(home.__file__ or "")]
    found = (node for file in files for node in tree(file).body if isinstance(node, ast.ClassDef))
    (node,) = (node for node in found if node.name == one.__name__)
    return node


def method(member: Function) -> Iterator[str]:
    """Yield a method's decorators and signature, and for the constructor what it sets."""
    constructor = member.name == "__init__"
    if member.name.startswith("_") and not constructor:
        return
    marks = "".join(f"@{mark} " for mark in sorted(decorators(member)))
    verb = "async def" if isinstance(member, ast.AsyncFunctionDef) else "def"
    gives = f" -> {ast.unparse(member.returns)}" if member.returns else ""
    yield f"    {marks}{verb} {member.name}({ast.unparse(member.args)}){gives}"
    if constructor:
        stored = (n for n in ast.walk(member) if isinstance(n, ast.Attribute))
        names = {n.attr for n in stored if isinstance(n.ctx, ast.Store) and n.attr[0] != "_"}
        yield from (f"    self.{name}" for name in sorted(names))


def variable(member: ast.Assign | ast.AnnAssign) -> Iterator[str]:
    """Yield a field or a constant."""
    text = ast.unparse(member)
    if not text.startswith("_"):
        yield f"    {text}"


if __name__ == "__main__":
    SNAPSHOT.write_text(render())
