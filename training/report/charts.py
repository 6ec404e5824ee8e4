"""Curves and maps as SVG that takes its colours from the page."""

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from m2d_clap.training.report.curves import Curve
from m2d_clap.training.report.embedding_map import Map

WIDTH, HEIGHT = 320, 150
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 20
POINTS = 160
HOVERED = 48
"""Points of a curve that say their value when pointed at."""

MAP_WIDTH, MAP_HEIGHT, MARGIN = 1040, 720, 26
LETTER, LINE = 7.6, 14
"""Size of a letter of a label on the map, a little generous."""
GOLDEN_ANGLE = 137.508


def line_chart(curve: Curve, epochs: float, mark: float | None, description: str) -> str:
    """One measure over the epochs; thinned points stand in a band from least to most.

    mark: an epoch to draw a line at. description: what is read out instead.
    """
    drawn = curve.thinned(POINTS).points
    low, high = min(p.low for p in drawn), max(p.high for p in drawn)
    ticks = nice_ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    end = max(epochs, drawn[-1].epoch) or 1.0

    def x(epoch: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * epoch / end

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / ((high - low) or 1.0)

    svg = _svg(WIDTH, HEIGHT, "chart", description)
    for tick in ticks:
        _line(svg, "rule", LEFT, y(tick), WIDTH - RIGHT, y(tick))
        _text(svg, "tick right", LEFT - 6, y(tick) + 3.5, f"{tick:.4g}")
    for tick in nice_ticks(0, end, 4):
        if tick <= end:
            _text(svg, "tick middle", x(tick), HEIGHT - 5, f"{tick:g}")
    if mark is not None:
        _line(svg, "mark", x(mark), TOP, x(mark), HEIGHT - BOTTOM)
    if any(p.low < p.high for p in drawn):
        there = [f"{x(p.epoch):.1f},{y(p.high):.1f}" for p in drawn]
        back = [f"{x(p.epoch):.1f},{y(p.low):.1f}" for p in reversed(drawn)]
        SubElement(svg, "polygon", {"class": "band", "points": " ".join(there + back)})
    course = " ".join(f"{x(p.epoch):.1f},{y(p.value):.1f}" for p in drawn)
    SubElement(svg, "polyline", {"class": "line", "points": course})
    _dot(svg, "end", x(drawn[-1].epoch), y(drawn[-1].value), 3)
    for point in curve.thinned(HOVERED).points:
        dot = _dot(svg, "hover", x(point.epoch), y(point.value), 7)
        SubElement(dot, "title").text = f"epoch {point.epoch:.1f}: {point.value:.4g}"
    return tostring(svg, encoding="unicode")


def map_chart(found: Map, titles: Sequence[str], description: str) -> str:
    """Every point with its title; names of labels where there is room, larger ones first.

    titles: one a point.
    """

    def place(point: Sequence[float]) -> tuple[float, float]:
        return (
            MARGIN + (MAP_WIDTH - 2 * MARGIN) * point[0],
            MARGIN + (MAP_HEIGHT - 2 * MARGIN) * (1 - point[1]),
        )

    svg = _svg(MAP_WIDTH, MAP_HEIGHT, "map", description)
    labelled = {m for region in found.regions for m in region.members}
    loose = [i for i in range(len(found.points)) if i not in labelled]
    hues = _hues(found)
    groups = [(None, loose), *((hues[r.label], list(r.members)) for r in found.regions)]
    for hue, members in groups:
        if members:
            group = SubElement(svg, "g", {"class": "loose" if hue is None else "region"})
            if hue is not None:
                group.set("style", f"--h:{hue:.0f}")
            for member in members:
                dot = _dot(group, "", *place(found.points[member].tolist()), 4)
                SubElement(dot, "title").text = titles[member]
    taken: list[tuple[float, float, float, float]] = []
    for region in found.regions:
        name = region.label.replace("_", " ")
        x, y = place(region.centre)
        half = LETTER * len(name) / 2
        x = min(max(x, half), MAP_WIDTH - half)
        box = (x - half, y - LINE, x + half, y)
        if not any(_overlap(box, other) for other in taken):
            taken.append(box)
            text = _text(svg, "name", x, y - 4, name)
            text.set("style", f"--h:{hues[region.label]:.0f}")
    return tostring(svg, encoding="unicode")


def nice_ticks(low: float, high: float, about: int = 3) -> list[float]:
    """Round numbers that enclose low … high, about so many steps of 1, 2 or 5 times a power."""
    span = (high - low) or abs(high) or 1.0
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]


def _hues(found: Map) -> dict[str, float]:
    """Degrees; labels that lie together get hues far apart."""
    around = sorted(found.regions, key=lambda r: math.atan2(r.centre[1] - 0.5, r.centre[0] - 0.5))
    return {region.label: i * GOLDEN_ANGLE % 360 for i, region in enumerate(around)}


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _svg(width: int, height: int, kind: str, description: str) -> Element:
    return Element(
        "svg",
        {
            "class": kind,
            "viewBox": f"0 0 {width} {height}",
            "role": "img",
            "aria-label": description,
        },
    )


def _line(parent: Element, kind: str, x1: float, y1: float, x2: float, y2: float) -> None:
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    SubElement(parent, "line", {"class": kind} | {n: f"{v:.1f}" for n, v in ends.items()})


def _text(parent: Element, kind: str, x: float, y: float, content: str) -> Element:
    text = SubElement(parent, "text", {"class": kind, "x": f"{x:.1f}", "y": f"{y:.1f}"})
    text.text = content
    return text


def _dot(parent: Element, kind: str, x: float, y: float, radius: float) -> Element:
    place = {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": f"{radius:g}"}
    return SubElement(parent, "circle", ({"class": kind} if kind else {}) | place)
