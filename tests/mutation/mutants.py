"""Mutants of a module: each comparison turned round, each call that stands alone left out."""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

TURNED: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
"""What a comparison may be mistaken for: off by one, and the other way round."""


class Mutant(NamedTuple):
    """One change of one module."""

    module: Path
    place: str
    """The function, as `Class.method`."""
    line: int
    before: str
    after: str
    source: str
    """The whole module with the change."""

    @property
    def key(self) -> str:
        """What stays the same as long as the module does."""
        return hashlib.sha256(f"{self.module}\n{self.source}".encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """What stays the same as long as the statement does."""
        return f"{self.module.stem}.{self.place}: {self.before} -> {self.after}"


def mutants_of(module: Path, source: str) -> Iterator[Mutant]:
    """Yield every mutant of `module`."""
    for place, node in _nodes(ast.parse(source), ""):
        for after in _changes(node):
            before = ast.get_source_segment(source, node) or ""
            changed = _spliced(source, node, after)
            yield Mutant(module, place, node.lineno, _flat(before), _flat(after), changed)


def _nodes(node: ast.AST, place: str) -> Iterator[tuple[str, ast.expr | ast.stmt]]:
    for child in ast.iter_child_nodes(node):
        inner = place
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inner = f"{place}.{child.name}".lstrip(".")
        if place and isinstance(child, ast.Compare | ast.Expr):
            yield place, child
        yield from _nodes(child, inner)


def _changes(node: ast.expr | ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.Compare):
        for number, operator in enumerate(node.ops):
            for other in TURNED[type(operator)]:
                ops = [*node.ops[:number], other(), *node.ops[number + 1 :]]
                yield f"({ast.unparse(ast.Compare(node.left, ops, node.comparators))})"
    elif isinstance(node, ast.Expr):
        value = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(value, ast.Call) and not ast.unparse(value.func).startswith("logger."):
            yield "pass"


def _spliced(source: str, node: ast.expr | ast.stmt, after: str) -> str:
    lines = source.encode().splitlines(keepends=True)
    assert node.end_lineno is not None
    head = b"".join(lines[: node.lineno - 1]) + lines[node.lineno - 1][: node.col_offset]
    tail = lines[node.end_lineno - 1][node.end_col_offset :] + b"".join(lines[node.end_lineno :])
    return (head + after.encode() + tail).decode()


def _flat(code: str) -> str:
    return " ".join(code.split())
