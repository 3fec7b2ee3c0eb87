"""Mutants of a module: small changes of what its functions do, each of which a test should notice.

A comparison is turned round or moved by one, `and` and `or` change places, a `not` is dropped, a
whole number is one more, a guard does not leave, a call that stands alone is left out.
"""

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

PACKAGE: Final = Path("src/acked")


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
        module = self.module.relative_to(PACKAGE).with_suffix("")
        return f"{module} {self.place}: {self.before} -> {self.after}"


class _Change(NamedTuple):
    node: ast.expr | ast.stmt
    after: str
    told: str = ""
    """What tells more than the source of `node`."""


def mutants_of(module: Path, source: str) -> Iterator[Mutant]:
    """Yield every mutant of `module`."""
    for place, inner in _nodes(ast.parse(source), ""):
        for node, after, told in _changes(inner):
            changed = _spliced(source, node, after)
            names = told or ast.get_source_segment(source, node) or "", after
            if isinstance(node, ast.Constant):  # a number alone is not told from its like
                names = _line(source, node.lineno), _line(changed, node.lineno)
            yield Mutant(module, place, node.lineno, *map(_flat, names), changed)


def _nodes(node: ast.AST, place: str) -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        inner = place
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inner = f"{place}.{child.name}".lstrip(".")
        if place:
            yield place, child
        if not isinstance(child, ast.JoinedStr):  # words; and before 3.12 no place is true in them
            yield from _nodes(child, inner)


def _changes(node: ast.AST) -> Iterator[_Change]:
    match node:
        case ast.Compare(left, operators, comparators):
            for number, operator in enumerate(operators):
                for other in TURNED[type(operator)]:
                    ops = [*operators[:number], other(), *operators[number + 1 :]]
                    yield _Change(node, f"({ast.unparse(ast.Compare(left, ops, comparators))})")
        case ast.BoolOp(operator, values):
            other = ast.Or() if isinstance(operator, ast.And) else ast.And()
            yield _Change(node, f"({ast.unparse(ast.BoolOp(other, values))})")
        case ast.UnaryOp(ast.Not(), operand):
            yield _Change(node, f"({ast.unparse(operand)})")
        case ast.Constant(int() as number) if not isinstance(number, bool):
            yield _Change(node, str(number + 1))
        case ast.If(test, [ast.Return() | ast.Raise() | ast.Continue() | ast.Break() as leaves]):
            yield _Change(leaves, "pass", f"if {ast.unparse(test)}: {ast.unparse(leaves)}")
        case ast.Expr(ast.Await(ast.Call() as call) | (ast.Call() as call)):
            if not ast.unparse(call.func).startswith(("logger.", "_logger.")):
                yield _Change(node, "pass")


def _spliced(source: str, node: ast.expr | ast.stmt, after: str) -> str:
    lines = source.encode().splitlines(keepends=True)
    assert node.end_lineno is not None
    head = b"".join(lines[: node.lineno - 1]) + lines[node.lineno - 1][: node.col_offset]
    tail = lines[node.end_lineno - 1][node.end_col_offset :] + b"".join(lines[node.end_lineno :])
    return (head + after.encode() + tail).decode()


def _line(source: str, number: int) -> str:
    return source.splitlines()[number - 1]


def _flat(code: str) -> str:
    return " ".join(code.split())
