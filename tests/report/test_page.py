import dataclasses
import re
from html.parser import HTMLParser

import pytest

from pipeline.report import aggregate, contents, page, sections
from tests.report import made_up


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    made_up.project(root)
    return root


@pytest.fixture(scope="module")
def html(root):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        runs = [aggregate.load("eszsl", "shapes", seed) for seed in (0, 1)]
        return page.page("eszsl", [contents.gather("shapes", runs)])


class Balance(HTMLParser):
    """Checks that every element is closed where it was opened."""

    VOID = frozenset(("meta", "link", "img", "br", "hr"))

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_every_element_is_closed(html):
    parser = Balance()
    parser.feed(html)
    assert parser.open == []


def test_nothing_is_fetched(html):
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", html)
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "@import" not in html
    assert "<script src" not in html


def test_class_names_are_text_not_markup(html):
    assert "class &lt;6&gt;" in html
    assert "class <6>" not in html


def test_headline_shows_what_evaluate_found(root, html):
    run = aggregate.load("eszsl", "shapes", 0, root / "runs")
    row = re.search(r'<tr class="ours">.*?</tr>', html, re.S).group()
    for name in ("T1", "U", "S", "H", "AUSUC"):
        assert f"<td>{run.figures[name]:.1f}<small" in row
    assert "not a result" in re.search(r'<tr class="oracle">.*?</tr>', html, re.S).group()


def test_semantics_and_a_features_file_are_named(root):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        shown = contents.gather("shapes", [aggregate.load("eszsl", "shapes", 0)])
    assert "5-d semantics (made up), 16-d features" in sections.facts(shown)
    locked = {"features": {"source": "images"}, "backbone": {"arch": "resnet101"}, "shapes.files.features": "data/none"}
    assert sections.conditions(dataclasses.replace(shown, params=locked)) == "resnet101, not fine-tuned, made up"
    locked["shapes.files.features"] = "/home/me/clip.npz"
    other = dataclasses.replace(shown, params=locked, semantics="attributes (0.5) beside clip.csv (0.5)")
    assert sections.conditions(other) == "features of clip.npz, attributes (0.5) beside clip.csv (0.5)"


def test_published_figures_are_marked_as_picked_on_the_test_images():
    rows = page._published_rows("cub")
    assert any("HSVA" in row and "55.5" in row for row in rows)
    assert all("test-selected" in row for row in rows)
