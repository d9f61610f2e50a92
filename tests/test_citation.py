"""CITATION.cff says of this project what pyproject.toml says."""

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def test_the_citation_names_this_version_and_this_licence():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert all((ROOT / name).is_file() for name in project["license-files"])
    # a paper that the README asks to cite is among the references
    cited = (ROOT / "README.md").read_text().split("\n## Cite\n")[1]
    assert all(paper["title"] in " ".join(cited.split()) for paper in citation["references"])
