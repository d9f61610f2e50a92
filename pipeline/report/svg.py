"""Charts as inline SVG: a frame that maps data to pixels, and the few marks that the report draws in it.

Colours, weights and fonts are classes of style.css, so that a chart follows the page into dark mode and onto paper.
"""

import math
from html import escape


def ticks(low, high, most=7):
    """Round numbers within [low, high], at most `most` of them, in steps of 1, 2 or 5 times a power of ten."""
    span = high - low
    if span <= 0:
        return [low]
    power = 10 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if span / (power * factor) <= most - 1)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def nice(low, high):
    """[low, high] widened to whole ticks."""
    if high <= low:
        pad = abs(low) / 2 or 1
        low, high = low - pad, high + pad
    step = ticks(low, high)
    step = step[1] - step[0] if len(step) > 1 else high - low
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def label(value):
    """A tick's number as text."""
    return f"{value:.6g}"


class Plot:
    """A chart of `width` x `height` pixels. x and y are (low, high) in data units; y grows upwards."""

    def __init__(self, title, x, y, width=440, height=300, margins=(12, 16, 44, 48)):
        self.title, self.x, self.y, self.width, self.height = title, x, y, width, height
        self.top, self.right, self.bottom, self.left = margins
        self.elements = []

    def px(self, value):
        """Data x -> pixels from the left."""
        low, high = self.x
        return self.left + (value - low) / (high - low) * (self.width - self.left - self.right)

    def py(self, value):
        """Data y -> pixels from the top."""
        low, high = self.y
        return self.height - self.bottom - (value - low) / (high - low) * (self.height - self.top - self.bottom)

    def add(self, element):
        self.elements.append(element)
        return self

    def axes(self, x_name, y_name, x_ticks=None, y_ticks=None):
        """Grid lines, tick labels and the names of both axes."""
        left, right, bottom = self.left, self.width - self.right, self.height - self.bottom
        for value in ticks(*self.y, most=7) if y_ticks is None else y_ticks:
            y = self.py(value)
            self.add(f'<path class="grid" d="M{left} {y:.1f}H{right}"/>')
            self.add(f'<text class="tick" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{label(value)}</text>')
        for value in ticks(*self.x, most=7) if x_ticks is None else x_ticks:
            x = self.px(value)
            self.add(f'<text class="tick" x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{label(value)}</text>')
        self.add(f'<path class="axis" d="M{left} {bottom}H{right}"/>')
        middle = (left + right) / 2
        self.add(
            f'<text class="name" x="{middle:.1f}" y="{self.height - 6}" text-anchor="middle">{escape(x_name)}</text>'
        )
        turned = f"translate(13 {(self.top + bottom) / 2:.1f}) rotate(-90)"
        return self.add(f'<text class="name" transform="{turned}" text-anchor="middle">{escape(y_name)}</text>')

    def line(self, points, kind):
        """A polyline through (x, y) pairs."""
        path = "L".join(f"{self.px(x):.1f} {self.py(y):.1f}" for x, y in points)
        return self.add(f'<path class="line {kind}" d="M{path}"/>')

    def area(self, points, kind):
        """The area between the points and y = 0, or the lower end of the axis where 0 is out of it."""
        ground = self.py(max(self.y[0], 0))
        path = "L".join(f"{self.px(x):.1f} {self.py(y):.1f}" for x, y in points)
        first, last = self.px(points[0][0]), self.px(points[-1][0])
        return self.add(f'<path class="area {kind}" d="M{first:.1f} {ground:.1f}L{path}L{last:.1f} {ground:.1f}Z"/>')

    def dot(self, x, y, kind, radius=3, tip=""):
        """A point, with a text that appears on hovering."""
        title = f"<title>{escape(tip)}</title>" if tip else ""
        place = f'cx="{self.px(x):.1f}" cy="{self.py(y):.1f}" r="{radius:g}"'
        return self.add(f'<circle class="dot {kind}" {place}>{title}</circle>')

    def cross(self, x, y, kind, radius=4, tip=""):
        """A diagonal cross."""
        x, y, r = self.px(x), self.py(y), radius
        title = f"<title>{escape(tip)}</title>" if tip else ""
        arms = f"M{x - r:.1f} {y - r:.1f}l{2 * r} {2 * r}m0 {-2 * r}l{-2 * r} {2 * r}"
        return self.add(f'<path class="cross {kind}" d="{arms}">{title}</path>')

    def rule(self, x, kind="mark"):
        """A vertical line over the whole height."""
        return self.add(f'<path class="{kind}" d="M{self.px(x):.1f} {self.top}V{self.height - self.bottom}"/>')

    def text(self, x, y, words, kind="note", anchor="start", dx=0, dy=0):
        """Words at a place in data units, moved by dx, dy pixels."""
        place = f'x="{self.px(x) + dx:.1f}" y="{self.py(y) + dy:.1f}" text-anchor="{anchor}"'
        return self.add(f'<text class="{kind}" {place}>{escape(words)}</text>')

    def __str__(self):
        box = f'viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(self.title)}"'
        return f'<svg {box} style="max-width:{1.5 * self.width:.0f}px">{"".join(self.elements)}</svg>'
