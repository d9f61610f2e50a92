"""The folder of --explain: a picture a photograph of what speaks for its first guess, and one page of them all."""

import os
import sys
from html import escape
from pathlib import Path

from PIL import Image

from pipeline.common import files
from pipeline.common.errors import UserError
from pipeline.report import drawing, page, photographs
from pipeline.vision import images

SIDE = 320
"""Pixels of a panel's longer side."""
MOST_ON_PAGE = 200
"""Photographs on the page, so that a browser opens it: the pictures of the others are in the folder."""
END, PAGE = ".evidence.png", "evidence.html"


def shown(guess):
    """A guess in words."""
    return f"{guess.name} ({guess.kind}), {100 * guess.probability:.1f} %"


class Folder:
    """Draws photographs, one after the other, and writes the page at the end. Raises UserError where it cannot write.

    spatial: the `evidence.Spatial` that made the maps; most: pixels of a photograph
    """

    def __init__(self, path, spatial, about):
        self.path, self.view, self.about = Path(path), spatial.network.view, about
        self.parts, self.count, self.names = [], 0, set()

    @staticmethod
    def begin(path):
        """Make the folder, and see that it can be written into before anything long begins."""
        path = Path(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            with files.replacing(path / PAGE, "w") as file:
                file.write(page.document("Evidence", ["<p>Not complete: the program is still at work.</p>"]))
        except OSError as error:
            raise UserError(
                f"{path}: cannot be written ({error.strerror or error}); --explain should name a folder that can"
            ) from None

    def add(self, path, guesses):
        """Draw a photograph with the maps of its first guess; {None: box, attribute: box}, in its upright pixels."""
        guess, data = guesses[0], Path(path).read_bytes()
        most = self.about.extraction.most_pixels
        photo = images.decode(data, least=(SIDE, SIDE), most=most)
        size = images.upright_size(data, most)
        scale = SIDE / max(photo.size)
        photo = photo.resize([max(1, round(side * scale)) for side in photo.size], Image.Resampling.LANCZOS)
        window = self._window(size, photo.size)
        placed = [drawing.place(cells, window, photo.size) for cells in guess.maps.numpy()]
        panels = [(photo, ["the photograph", ""]), (drawing.panel(photo, placed[0]), [shown(guess), "its score"])]
        boxes = {None: placed[0].box(size)}
        for (name, number), of_attribute in zip(guess.attributes, placed[1:], strict=False):
            panels.append((drawing.panel(photo, of_attribute), [name, f"{number:.3g}"]))
            boxes[name] = of_attribute.box(size)
        with files.replacing(self.path / self._name(path)) as file:
            drawing.sheet(_text(path), panels).save(file, "PNG")
        self.count += 1
        if self.count <= MOST_ON_PAGE:
            self.parts.append(_figure(path, panels, guesses))
        return boxes

    def _window(self, size, drawn):
        """What the network sees of a photograph of `size`, in pixels of one `drawn` smaller."""
        edges = self.view.window(*size)
        return tuple(edge * drawn[i % 2] / size[i % 2] for i, edge in enumerate(edges))

    def _name(self, path):
        """A name of its own for the picture of each photograph."""
        name, number = Path(path).name, 1
        while name in self.names:
            number += 1
            name = f"{Path(path).name}-{number}"
        self.names.add(name)
        return name + END

    def finish(self):
        """Write the page."""
        about = self.about
        left_out = self.count - len(self.parts)
        body = [
            f"<header><h1>Where {page.NAMES[about.model]} looks</h1>",
            '<p class="lead">Each photograph with what speaks on it for the first guess, and for the three attributes'
            " that speak most for it. An attribute speaks for a class when the class has more of it than the average"
            f" class of {escape(about.dataset)}, and the photograph shows more of it than the average photograph; its"
            " number is the product of both.</p>",
            drawing.LEGEND,
            "</header>",
            *self.parts,
            f'<p class="note">{left_out:,} more photographs are in pictures beside this page.</p>' if left_out else "",
        ]
        with files.replacing(self.path / PAGE, "w") as file:
            file.write(page.document(f"Where {page.NAMES[about.model]} looks", body))
        print(f"evidence: {self.count:,} photographs in {self.path / PAGE}", file=sys.stderr, flush=True)


def _text(path):
    """A path as text: Linux takes names that are none."""
    return os.fsencode(path).decode(errors="replace")


def _figure(path, panels, guesses):
    cells = "".join(
        f'<div><img src="{photographs.address(image, 85)}" alt="{escape(": ".join(filter(None, lines)))}"'
        f' width="{image.width}" height="{image.height}"><b>{escape(lines[0])}</b><span>{escape(lines[1])}</span></div>'
        for image, lines in panels
    )
    others = "; ".join(shown(guess) for guess in guesses[1:])
    caption = f"<figcaption>Further guesses: {escape(others)}</figcaption>" if others else ""
    return f'<figure><h3>{escape(_text(path))}</h3><div class="panels">{cells}</div>{caption}</figure>'
