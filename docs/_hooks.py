"""Build the layers' page from the layers themselves: their headings and their capabilities."""  # noqa: INP001 - a hook, no package

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from acked.conformance import AckLayerLaws, FireAndForgetLaws, law_of
from acked.conformance.verdicts import Verdict, read
from acked.types import Capabilities

HEADINGS = (
    "Semantics",
    "Ordering",
    "Acknowledgement",
    "Loses messages when",
    "Native handle",
    "Requires",
)
PLACEHOLDER = "<!-- the layers -->"
LAWS_PLACEHOLDER = "<!-- the laws -->"
VERDICTS = Path(__file__).parent / "reference" / "conformance.json"
"""Written by `pytest tests/conformance --acked-results docs/reference/conformance.json`."""


class Layer(NamedTuple):
    """One layer as its documentation shows it; imported when it is looked into."""

    schemes: tuple[str, ...]
    entry: EntryPoint

    @property
    def kind(self) -> type[Any]:
        """The layer's class."""
        found: type[Any] = self.entry.load()
        return found

    @property
    def module(self) -> str:
        """Where users import it from."""
        return self.entry.module

    @property
    def capabilities(self) -> Capabilities:
        """What every layer of this kind can promise."""
        declared: Capabilities = import_module(self.module).CAPABILITIES
        return declared

    @property
    def paragraphs(self) -> list[str]:
        """The paragraphs of the module's docstring."""
        return (inspect.getdoc(import_module(self.module)) or "").split("\n\n")


def layers() -> list[Layer]:
    """Return each installed layer of ours, in the order of `pyproject.toml`."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group="acked.layers"):
        if entry.value.startswith("acked."):
            found.setdefault(entry.value, []).append(entry)
    return [Layer(tuple(one.name for one in same), same[0]) for same in found.values()]


def headings(paragraphs: list[str]) -> list[str]:
    """Return the headings that open paragraphs, in their order."""
    opened = (re.match(r"\*\*(.+?)[.:]?\*\*", paragraph) for paragraph in paragraphs)
    return [match[1] for match in opened if match]


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the layers where a page asks for them; called by MkDocs for every page."""
    if LAWS_PLACEHOLDER in markdown:
        return markdown.replace(LAWS_PLACEHOLDER, "\n\n".join([verdict_table(), *claims()]))
    if PLACEHOLDER not in markdown:
        return markdown
    known = layers()
    parts = [table(known), *(section(layer) for layer in known)]
    return markdown.replace(PLACEHOLDER, "\n\n".join(parts))


def verdict_table() -> str:
    """Return what each law came to on each of our layers, in the last recorded run."""
    recorded = read(VERDICTS)  # also of layers that only tests have
    results = {one.kind.__name__: recorded.get(one.kind.__name__, {}) for one in layers()}
    ids = sorted({law for laws in results.values() for law in laws}, key=by_number)
    heads = [row("law", iter(results)), row("---", ("---" for _ in results))]
    return "\n".join(
        [*heads, *(row(one, (_said(laws, one) for laws in results.values())) for one in ids)]
    )


def _said(laws: dict[str, Verdict], law: str) -> str:
    return laws[law].value if law in laws else ""


def claims() -> Iterator[str]:
    """Yield, for each law, the claims that are tried, in the words of their tests."""
    found: dict[str, dict[str, None]] = {}
    for suite in (AckLayerLaws, FireAndForgetLaws):
        for name, member in inspect.getmembers(suite):
            law = law_of(member)
            if law is not None:
                claim = name.removeprefix("test_").replace("_", " ")
                for one in law.ids:
                    found.setdefault(one, {})[f"- {claim}"] = None
    yield "## The claims"
    for one in sorted(found, key=by_number):
        yield f"**{one}**\n\n" + "\n".join(found[one])


def by_number(law: str) -> tuple[str, int]:
    """Return what sorts `A2` before `A10`."""
    return law[:1], int(law[1:])


def section(layer: Layer) -> str:
    """Return what the module says of itself, and how to reach it by URL."""
    schemes = " or ".join(f"`{scheme}://`" for scheme in layer.schemes)
    title = f"## {layer.kind.__name__}\n\nURL scheme: {schemes}"
    options = "options: {members: [from_url], merge_init_into_class: true}"
    reference = f"::: {layer.module}.{layer.kind.__name__}\n    {options}"
    return "\n\n".join([title, *layer.paragraphs, reference])


def table(known: list[Layer]) -> str:
    """Return a table of every capability of every layer."""
    columns = [layer.capabilities for layer in known]
    names = (f"[`{layer.schemes[0]}`](#{layer.kind.__name__.lower()})" for layer in known)
    return "\n".join([row("", names), row("---", ("---" for _ in known)), *_flags(columns)])


def _flags(columns: list[Capabilities]) -> Iterator[str]:
    for field in msgspec.structs.fields(Capabilities):
        yield row(f"`{field.name}`", (shown(getattr(one, field.name)) for one in columns))


def row(first: str, others: Iterator[str]) -> str:
    """Return one row of a Markdown table."""
    return f"| {' | '.join([first, *others])} |"


def shown(flag: object) -> str:
    """Return a flag as a reader wants it."""
    if isinstance(flag, bool):
        return "yes" if flag else "–"  # noqa: RUF001 - a dash is what is meant
    return "–" if flag is None else f"`{flag}`"  # noqa: RUF001 - as above
