"""The picture of the floors: boxes for rooms, arrows for imports; one that goes up is red."""

from tests.meta.architecture.rooms import arrows, floors, on_floor, ranks, short
from tests.meta.architecture.svg import Box, document, labelled, path, rectangle, text

LEFT = 20
BOX = (128, 24)
GAP = (12, 22)
STEP = BOX[0] + GAP[0]
BETWEEN = 34
"""Between two floors, where the arrows go."""
TITLE = 18


def draw() -> str:
    """Return the picture as SVG."""
    plan = floors()
    wide = 2 * LEFT + STEP + max(sum(map(_width, floor)) for floor in plan)
    boxes: dict[str, Box] = {}
    shapes: list[str] = []
    y = 10.0
    for n, floor in enumerate(plan):
        x = (wide - STEP / 2 - sum(map(_width, floor)) + GAP[0]) / 2 + _indent(n)
        bottom = y
        inner: list[str] = []
        for member in floor:
            x, lower = _place(member, x, y, boxes, inner)
            bottom = max(bottom, lower)
        shapes.append(rectangle(Box(LEFT, y, wide - 2 * LEFT, bottom - y + 8), "floor"))
        shapes += inner
        y = bottom + 8 + BETWEEN
    lines = [_arrow(room, target, boxes) for room, target in arrows()]
    words = [labelled(box, _label(room)) for room, box in boxes.items()]
    return document(
        wide, y - BETWEEN + 10, "acked: floors, rooms and imports", [*shapes, *lines, *words]
    )


def _label(room: str) -> str:
    return short(room).rpartition(".")[2]


def _place(
    member: str, x: float, y: float, boxes: dict[str, Box], shapes: list[str]
) -> tuple[float, float]:
    """Give each room of `member` a box; return where the next begins, and the lower edge."""
    members = on_floor(member)
    if len(members) == 1:
        boxes[member] = Box(x, y + 8, *BOX)
        return x + BOX[0] + GAP[0], y + 8 + BOX[1]
    lines = _lines(members)
    for n, line in enumerate(lines):
        for i, room in enumerate(line):
            at = x + 10 + i * STEP + _indent(n), y + 8 + TITLE + n * (BOX[1] + GAP[1])
            boxes[room] = Box(*at, *BOX)
    width = _width(member) - GAP[0]
    height = TITLE + len(lines) * (BOX[1] + GAP[1]) - GAP[1] + 10
    shapes.append(rectangle(Box(x, y + 8, width, height), "frame"))
    shapes.append(text(x + 8, y + 21, short(member), "small"))
    return x + width + GAP[0], y + 8 + height


def _width(member: str) -> float:
    """Return what `member` takes of its floor's width, with the gap behind it."""
    members = on_floor(member)
    right = max(len(line) * STEP + _indent(n) for n, line in enumerate(_lines(members)))
    return right + (20 if len(members) > 1 else 0)


def _indent(line: int) -> float:
    """Let each other line begin half a box later: arrows pass between its boxes."""
    return STEP / 2 if line % 2 else 0.0


def _lines(members: list[str]) -> list[list[str]]:
    columns = 4 if len(members) > 4 else 2
    return [
        rank[start : start + columns]
        for rank in ranks(members)
        for start in range(0, len(rank), columns)
    ]


def _arrow(room: str, target: str, boxes: dict[str, Box]) -> str:
    """Return an arrow; the boxes are drawn over it."""
    start, end = boxes[room], boxes[target]
    title = f"{short(room)} imports {short(target)}"
    if end.y > start.y:
        bend = min(30.0, (end.y - start.bottom) / 2)
        course = (
            f"M{start.middle:g} {start.bottom:g} C{start.middle:g} {start.bottom + bend:g} "
            f"{end.middle:g} {end.y - bend:g} {end.middle:g} {end.y:g}"
        )
        return path(course, title)
    if end.y == start.y:
        step = -20 if end.x < start.x else 20
        course = (
            f"M{start.middle + step:g} {start.bottom:g} Q{(start.middle + end.middle) / 2:g} "
            f"{start.bottom + 18:g} {end.middle - step:g} {end.bottom:g}"
        )
        return path(course, title)
    course = f"M{start.middle:g} {start.y:g} L{end.middle:g} {end.bottom:g}"
    return path(course, title, "" if room.split(".")[1] == target.split(".")[1] else "up")
