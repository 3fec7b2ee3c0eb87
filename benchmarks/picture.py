"""Pictures of what grows: cost over size, both by decades, a line for each layer, as SVG."""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, floor, log10
from typing import Final
from xml.sax.saxutils import escape

__all__ = ("Points", "picture", "text")

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT, COLUMNS = 420, 270, 2
LEFT, RIGHT, TOP, BOTTOM = 48, 150, 34, 34
COLOURS: Final = {
    "memory": "#57606a",
    "memory-queue": "#57606a",
    "sqlite-queue": "#8250df",
    "redis-streams": "#cf222e",
    "redis-pubsub": "#cf222e",
    "postgres-queue": "#0969da",
    "kafka": "#1a7f37",
}
OTHERS: Final = ("#bf8700", "#bf3989")
STYLE: Final = """
  :root { color-scheme: light dark; }
  text { font: 11px ui-monospace, monospace; fill: #59636e; }
  .title { font-size: 12px; fill: #1f2328; }
  .grid { stroke: #8c959f; stroke-opacity: 0.25; }
  polyline { fill: none; stroke-width: 1.8; }
  @media (prefers-color-scheme: dark) { text { fill: #9198a1; } .title { fill: #e6edf3; } }
"""


def picture(panels: Mapping[str, Mapping[str, Points]]) -> str:
    """Return a panel for each thing that grows, with a line for each layer."""
    rows = ceil(len(panels) / COLUMNS)
    size = f'width="{COLUMNS * WIDTH}" viewBox="0 0 {COLUMNS * WIDTH} {rows * HEIGHT}"'
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>']
    lines += ["<title>microseconds for each, as something grows</title>", f"<style>{STYLE}</style>"]
    for at, (title, layers) in enumerate(panels.items()):
        x, y = at % COLUMNS * WIDTH, at // COLUMNS * HEIGHT
        lines += [f'<g transform="translate({x} {y})">', *_panel(title, layers), "</g>"]
    return "\n".join([*lines, "</svg>", ""])


def _panel(title: str, layers: Mapping[str, Points]) -> Iterator[str]:
    points = [point for line in layers.values() for point in line]
    across = _Axis([x for x, _ in points], LEFT, WIDTH - RIGHT)
    upward = _Axis([y for _, y in points], HEIGHT - BOTTOM, TOP)
    yield text(LEFT, 18, title, "title")
    for decade, x in across.decades():
        yield f'<line class="grid" x1="{x:g}" y1="{TOP}" x2="{x:g}" y2="{HEIGHT - BOTTOM}"/>'
        yield text(x, HEIGHT - BOTTOM + 16, _short(decade), anchor="middle")
    for decade, y in upward.decades():
        yield f'<line class="grid" x1="{LEFT}" y1="{y:g}" x2="{WIDTH - RIGHT}" y2="{y:g}"/>'
        yield text(LEFT - 5, y + 4, _short(decade), anchor="end")
    others = iter(OTHERS)
    for at, (layer, line) in enumerate(layers.items()):
        colour = COLOURS.get(layer) or next(others)
        course = " ".join(f"{across.at(x):.1f},{upward.at(y):.1f}" for x, y in line)
        yield f'<polyline points="{course}" stroke="{colour}"><title>{escape(layer)}</title>'
        yield "</polyline>"
        yield f'<text x="{WIDTH - RIGHT + 10}" y="{TOP + 10 + 15 * at}" style="fill:{colour}">'
        yield f"{escape(layer)}</text>"


class _Axis:
    """Where a value is, by decades."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        self._first = floor(log10(min(values)))
        self._last = max(self._first + 1, ceil(log10(max(values))))
        self._begin = begin
        self._length = end - begin

    def at(self, value: float) -> float:
        """Return the place of `value`."""
        share = (log10(value) - self._first) / (self._last - self._first)
        return self._begin + share * self._length

    def decades(self) -> Iterator[tuple[float, float]]:
        """Give each power of ten with its place."""
        for power in range(self._first, self._last + 1):
            yield 10.0**power, self.at(10.0**power)


def _short(value: float) -> str:
    for unit, word in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{word}"
    return f"{value:g}"


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Return one line of text."""
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'
