"""The few shapes that the pictures are made of, as text of SVG; light and dark as the reader's."""

from typing import NamedTuple
from xml.sax.saxutils import escape

STYLE = """
  :root { color-scheme: light dark; }
  text { font: 12px ui-monospace, monospace; fill: #1f2328; }
  .small { font-size: 10px; fill: #59636e; }
  .floor { fill: #f6f8fa; stroke: none; }
  .frame { fill: none; stroke: #8c959f; stroke-dasharray: 4 3; }
  .box { fill: #ddf4ff; stroke: #0969da; }
  .life { stroke: #8c959f; stroke-dasharray: 2 3; }
  .arrow { fill: none; stroke: #59636e; stroke-width: 1.2; }
  .handed { stroke-dasharray: 5 3; }
  .up { stroke: #cf222e; stroke-width: 2.5; }
  .head { fill: #59636e; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .small { fill: #9198a1; }
    .floor { fill: #21262d; }
    .box { fill: #0c2d6b; stroke: #4493f8; }
    .arrow { stroke: #9198a1; }
    .head { fill: #9198a1; }
    .up { stroke: #f85149; }
  }
"""
MARKER = (
    '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto-start-reverse"><path class="head" d="M0 0 L8 4 L0 8 z"/></marker>'
)


class Box(NamedTuple):
    """A rectangle with a word in it."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height


def document(width: float, height: float, title: str, shapes: list[str]) -> str:
    """Return a whole picture; without a background of its own."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'role="img" width="{width:g}"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style><defs>{MARKER}</defs>"
    )
    return "\n".join([head, *shapes, "</svg>", ""])


def rectangle(box: Box, kind: str) -> str:
    """Return a rectangle of a class of the style."""
    return (
        f'<rect class="{kind}" x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" '
        f'height="{box.height:g}" rx="4"/>'
    )


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Return one line of text."""
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'


def labelled(box: Box, words: str) -> str:
    """Return a box with a word in its middle."""
    return rectangle(box, "box") + text(box.middle, box.y + box.height / 2 + 4, words, "", "middle")


def path(course: str, title: str, kind: str = "") -> str:
    """Return an arrow along `course`; a reader who points at it sees `title`."""
    return (
        f'<path class="arrow {kind}" d="{course}" marker-end="url(#head)">'
        f"<title>{escape(title)}</title></path>"
    )
