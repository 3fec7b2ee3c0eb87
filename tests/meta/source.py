"""The package as text and as trees, for the tests that read it."""

import ast
import pkgutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "acked"
FILES = sorted(PACKAGE.rglob("*.py"))

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def tree(file: Path) -> ast.Module:
    """Return the parsed `file`."""
    return ast.parse(file.read_text(), str(file))


def name_of(file: Path) -> str:
    """Return a file's path as a reader knows it."""
    return str(file.relative_to(ROOT))


@cache
def tracked() -> list[Path]:
    """Return every file of the checkout that is under git, or is new and not ignored."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True)
    found = (ROOT / name for name in done.stdout.split("\0") if name)
    return sorted(file for file in found if file.is_file())


def functions() -> Iterator[tuple[str, Function]]:
    """Yield every function and method, with the place where it is."""
    for file in FILES:
        for node in ast.walk(tree(file)):
            if isinstance(node, Function):
                yield f"{name_of(file)}:{node.lineno} {node.name}", node


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    """Yield every class, with the place where it is."""
    for file in FILES:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.ClassDef):
                yield f"{name_of(file)}:{node.lineno} {node.name}", node


def public_definitions(body: list[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    """Yield what has a public name in `body`, and the members of what is a class."""
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body)


def decorators(node: Function | ast.ClassDef) -> set[str]:
    """Return the decorators of `node` as they are written."""
    return set(map(ast.unparse, node.decorator_list))


COMMANDS = ("acked.cli", "acked.demo")


def public_modules() -> list[str]:
    """Return the name of every module that users may import; commands are used by their words."""
    found = [info.name for info in pkgutil.walk_packages([str(PACKAGE)], "acked.")]
    return ["acked", *(n for n in found if "._" not in n and not n.startswith(COMMANDS))]
