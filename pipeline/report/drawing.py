"""Evidence maps as pictures: a photograph with what speaks on it, and the box of where that is strongest.

Colour is not the only sign: a line surrounds all that is at least half as strong as the most, a frame the strongest
region of it; dots mark the edge of what the network sees, where that is not the whole photograph.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

COLOUR = (214, 73, 0)
HALF = 0.5
INK, MUTED, PAPER = (23, 25, 28), (89, 97, 107), (255, 255, 255)
GAP, TEXT = 14, 14


LEGEND = (
    '<p class="key evidence"><span><i class="ramp"></i>speaks for it: nothing, to the most on this map</span>'
    '<span><i class="half"></i>half as strong or more</span><span><i class="frame"></i>the strongest region</span>'
    '<span><i class="dots"></i>edge of what the network sees</span></p>'
)
"""Of the pictures, in HTML."""


@dataclass(frozen=True)
class Placed:
    """A map on a photograph of width x height pixels: `strength` height x width in 0..1, zero where the network sees
    nothing or nothing speaks for the value; window: (left, top, right, bottom) of what it sees, in pixels; peak: the
    (x, y) of the middle of the strongest cell, None where nothing speaks for the value."""

    strength: np.ndarray
    window: tuple[float, float, float, float]
    peak: tuple[int, int] | None

    def region(self):
        """Which pixels are at least half as strong as the strongest and joined to it; none where nothing speaks."""
        if not self.strength.any():
            return np.zeros(self.strength.shape, bool)
        parts, _ = ndimage.label(self.strength >= HALF)
        return parts == parts[np.unravel_index(self.strength.argmax(), self.strength.shape)]

    def resized(self, size):
        """Itself on the same photograph of another `size`, (width, height)."""
        height, width = self.strength.shape
        scales = size[0] / width, size[1] / height
        strength = np.asarray(Image.fromarray(self.strength).resize(size, Image.Resampling.BILINEAR))
        window = tuple(edge * scales[i % 2] for i, edge in enumerate(self.window))
        peak = self.peak and tuple(int(at * scale) for at, scale in zip(self.peak, scales, strict=True))
        return Placed(strength, window, peak)

    def box(self, size=None):
        """(left, top, right, bottom) of the strongest region, on a photograph of `size` (width, height) instead of its
        own; None where nothing speaks for the value."""
        rows, columns = np.nonzero(self.region())
        if not len(rows):
            return None
        height, width = self.strength.shape
        across, down = (1, 1) if size is None else (size[0] / width, size[1] / height)
        edges = columns.min() * across, rows.min() * down, (columns.max() + 1) * across, (rows.max() + 1) * down
        return tuple(round(edge) for edge in edges)


def place(cells, window, size):
    """An h x w map of what the network sees -> `Placed` on a photograph of `size` (width, height), of which the network
    sees the `window`. What speaks against the value is left out."""
    left, top, right, bottom = window
    x, y = round(left), round(top)
    seen = max(1, round(right) - x), max(1, round(bottom) - y)
    cells = np.maximum(np.asarray(cells, np.float32), 0)
    positive = Image.fromarray(cells)
    canvas = Image.new("F", size)
    canvas.paste(positive.resize(seen, Image.Resampling.BICUBIC), (x, y))
    strength = np.maximum(np.asarray(canvas), 0)
    most = strength.max()
    if not most > 0:
        return Placed(np.zeros_like(strength), window, None)
    row, column = np.unravel_index(cells.argmax(), cells.shape)
    middle = x + (column + 0.5) * seen[0] / cells.shape[1], y + (row + 0.5) * seen[1] / cells.shape[0]
    peak = tuple(min(max(int(at), 0), side - 1) for at, side in zip(middle, size, strict=True))
    return Placed(strength / most, window, peak)


def panel(photo, placed):
    """An RGB photograph in grey, with a map of its size over it."""
    grey = np.asarray(photo.convert("L").convert("RGB"), np.float32)
    grey = 70 + grey * (185 / 255)
    share = 0.8 * placed.strength[..., None]
    pixels = grey * (1 - share) + np.array(COLOUR, np.float32) * share
    half = placed.strength >= HALF
    line = half & ~ndimage.binary_erosion(half, iterations=2)
    pixels[ndimage.binary_dilation(line)] = PAPER
    pixels[line] = INK
    drawn = Image.fromarray(pixels.round().astype(np.uint8))
    pen = ImageDraw.Draw(drawn)
    left, top, right, bottom = placed.window
    if left > 1 or top > 1 or right < photo.width - 1 or bottom < photo.height - 1:
        _dotted(pen, (left, top, min(right, photo.width) - 1, min(bottom, photo.height) - 1))
    if box := placed.box():
        inner = (box[0], box[1], box[2] - 1, box[3] - 1)
        pen.rectangle(inner, outline=PAPER, width=4)
        # a thin photograph has no room for it
        if inner[0] + 2 <= inner[2] and inner[1] + 2 <= inner[3]:
            pen.rectangle((inner[0] + 1, inner[1] + 1, inner[2] - 1, inner[3] - 1), outline=COLOUR, width=2)
    return drawn


def _dotted(pen, box):
    left, top, right, bottom = (max(0, round(edge)) for edge in box)
    for x in range(left, right, 8):
        for y in (top, bottom):
            pen.rectangle((x, y - 1, x + 3, y + 1), fill=INK, outline=PAPER)
    for y in range(top, bottom, 8):
        for x in (left, right):
            pen.rectangle((x - 1, y, x + 1, y + 3), fill=INK, outline=PAPER)


def sheet(title, panels):
    """One picture: a title, panels side by side, each an RGB image with lines of text above it, and the legend."""
    font, bold = ImageFont.load_default(TEXT), ImageFont.load_default(TEXT + 4)
    line = TEXT + 6
    widths = [max(image.width, 150) for image, _ in panels]
    texts = [
        [part for text in lines for part in _wrapped(text, font, width)]
        for (_, lines), width in zip(panels, widths, strict=True)
    ]
    words, tall = max(map(len, texts)), max(image.height for image, _ in panels)
    top = 2 * GAP + TEXT + 8
    below = top + words * line + tall + GAP
    size = max(GAP + sum(width + GAP for width in widths), 640), below + 2 * line + GAP
    drawn = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(drawn)
    pen.text((GAP, GAP), _wrapped(title, bold, size[0] - 2 * GAP)[0], INK, bold)
    x = GAP
    for (image, _), width, lines in zip(panels, widths, texts, strict=True):
        for i, text in enumerate(lines):
            pen.text((x, top + i * line), text, MUTED if i else INK, font)
        drawn.paste(image, (x, top + words * line))
        x += width + GAP
    _legend(drawn, pen, below, font)
    return drawn


def _legend(drawn, pen, y, font):
    ramp = np.linspace(0, 0.8, 90)[None, :, None]
    pixels = 160 * (1 - ramp) + np.array(COLOUR) * ramp
    drawn.paste(Image.fromarray(np.repeat(pixels, TEXT, 0).astype(np.uint8)), (GAP, y + 2))
    x = GAP + 98
    pen.text((x, y), "speaks for it: nothing, to the most on this map", MUTED, font)
    y += TEXT + 6
    pen.ellipse((GAP, y + 2, GAP + 22, y + TEXT), outline=INK, width=2)
    pen.text((GAP + 30, y), "half as strong or more", MUTED, font)
    pen.rectangle((GAP + 200, y + 2, GAP + 222, y + TEXT), outline=COLOUR, width=2)
    pen.text((GAP + 230, y), "the strongest region", MUTED, font)
    _dotted(pen, (GAP + 390, y + 3, GAP + 414, y + TEXT))
    pen.text((GAP + 424, y), "what the network sees", MUTED, font)


def _wrapped(text, font, width):
    """Text in lines of at most `width` pixels, cut between words where it can be."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        while font.getlength(word) > width and len(word) > 2:
            word = word[:-2] + "\N{HORIZONTAL ELLIPSIS}"
        lines.append(word)
    return [line for line in lines if line] or [""]
