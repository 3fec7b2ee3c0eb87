"""What `bloat` has sampled, as a picture: the cost, the dead rows, the sizes."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from benchmarks.picture import text

__all__ = ("picture",)

WIDTH: Final = 720
LEFT, RIGHT = 70, 150
HIGH: Final = 110
"""Of a panel; below it is room for its axis."""
APART: Final = 60
TOP: Final = 40

STYLE: Final = """
  :root { color-scheme: light dark; }
  text { font: 12px ui-monospace, monospace; fill: #1f2328; }
  .small { font-size: 10px; fill: #59636e; }
  .axis { stroke: #8c959f; fill: none; }
  .line { fill: none; stroke-width: 1.6; }
  .first { stroke: #0969da; }
  .second { stroke: #bc4c00; }
  text.first { fill: #0969da; stroke: none; }
  text.second { fill: #bc4c00; stroke: none; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .small { fill: #9198a1; }
    .first { stroke: #4493f8; }
    .second { stroke: #f0883e; }
    text.first { fill: #4493f8; }
    text.second { fill: #f0883e; }
  }
"""


class Sampled(Protocol):
    """What the picture shows of a minute."""

    @property
    def cost(self) -> float: ...
    @property
    def cost_of_new(self) -> float: ...
    @property
    def dead(self) -> int: ...
    @property
    def table(self) -> float: ...
    @property
    def indexes(self) -> float: ...


class Course(NamedTuple):
    """How one figure went, minute by minute."""

    name: str
    values: Sequence[float]


def picture(samples: Sequence[Sampled]) -> str:
    """Return `samples` as a whole picture; light and dark as the reader's."""
    panels = {
        "microseconds of processor time for each message": [
            Course("this queue", [one.cost for one in samples]),
            Course("one that is new", [one.cost_of_new for one in samples]),
        ],
        "rows that are settled and not cleared away": [
            Course("dead rows", [one.dead for one in samples])
        ],
        "MiB": [
            Course("table", [one.table for one in samples]),
            Course("indexes", [one.indexes for one in samples]),
        ],
    }
    shapes: list[str] = []
    for place, (title, courses) in enumerate(panels.items()):
        shapes += panel(TOP + place * (HIGH + APART), title, courses)
    height = TOP + len(panels) * (HIGH + APART)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'width="{WIDTH}"><title>{len(samples)} minutes of traffic</title><style>{STYLE}</style>'
    )
    return "\n".join([head, *shapes, "</svg>", ""])


def panel(top: float, title: str, courses: Sequence[Course]) -> list[str]:
    """Return one panel, from zero to the most of its courses."""
    most = max(max(one.values) for one in courses) or 1.0
    minutes, bottom = len(courses[0].values), top + HIGH
    end = WIDTH - RIGHT
    shapes = [
        text(LEFT, top - 8, title),
        f'<path class="axis" d="M{LEFT} {top:g} V{bottom:g} H{end}"/>',
        text(LEFT - 6, top + 8, f"{most:,.0f}", "small", "end"),
        text(LEFT - 6, bottom, "0", "small", "end"),
        text(end, bottom + 14, f"minute {minutes}", "small", "end"),
    ]
    ends: list[float] = []
    for kind, one in zip(("first", "second"), courses, strict=False):
        points = [
            f"{LEFT + (end - LEFT) * (place + 1) / minutes:.1f},{bottom - HIGH * value / most:.1f}"
            for place, value in enumerate(one.values)
        ]
        shapes.append(f'<polyline class="line {kind}" points="{" ".join(points)}"/>')
        height = bottom - HIGH * one.values[-1] / most + 4
        height += 14 if any(abs(height - other) < 12 for other in ends) else 0
        ends.append(height)
        shapes.append(text(end + 6, height, f"{one.name} {one.values[-1]:,.0f}", kind))
    return shapes
