"""The page: one HTML file that holds everything it shows and asks no network for anything."""

import math
import string
from html import escape
from pathlib import Path

import numpy as np

from pipeline import files
from pipeline.protocol import FIGURES
from pipeline.report import figures
from pipeline.report.statistics import spread

HERE = Path(__file__).parent
NONE = "\N{EN DASH}"
NAMES = {"hsva": "HSVA", "bsegn": "BSeGN", "eszsl": "ESZSL"}
SETS = {
    "shapes": "Shapes",
    "cub": "CUB",
    "sun": "SUN",
    "awa1": "AWA1",
    "awa2": "AWA2",
    "apy": "APY",
    "flo": "FLO",
    "folder": "Own data",
}


def page(model, sets):
    """The whole report as HTML. `sets`: data set -> (its runs, one a seed; its `pipeline.data.Benchmark`)."""
    names = ", ".join(SETS[name] for name in sets)
    body = [
        f"<header><h1>{NAMES[model]} on {names}</h1>",
        '<p class="lead">Generalised zero-shot learning: trained on images of seen classes, judged on images of seen'
        " and unseen ones. Epochs were chosen on validation classes, the test images were looked at once.</p>",
        _navigation(sets),
        "</header>",
        headline(model, sets),
        *(section(name, *of_set) for name, of_set in sets.items()),
    ]
    template = string.Template((HERE / "page.html").read_text(encoding="utf-8"))
    style = (HERE / "style.css").read_text(encoding="utf-8")
    return template.substitute(title=f"{NAMES[model]} on {names}", style=style, body="\n".join(body))


def _navigation(sets):
    if len(sets) == 1:
        return ""
    links = "".join(f'<a href="#{name}">{SETS[name]}</a>' for name in sets)
    return f"<nav>{links}</nav>"


def headline(model, sets):
    """The table of all figures in percent, ours first, then what was published for the data set."""
    rows = []
    for name, (runs, benchmark) in sets.items():
        rows.append(
            f'<tr class="set"><th colspan="6" scope="rowgroup">{SETS[name]}<span>{facts(benchmark)}</span></th></tr>'
        )
        rows += _our_rows(NAMES[model], runs)
        rows += _published_rows(name)
    head = (
        '<th></th><th>T1</th><th class="u">U</th><th class="s">S</th><th>H</th><th><abbr title="area under the'
        ' seen-unseen curve">AUSUC</abbr></th>'
    )
    several = any(len(runs) > 1 for runs, _ in sets.values())
    note = (
        "Percent. T1: accuracy among unseen classes alone; U and S: of unseen and seen classes among all; all three"
        " are means over classes. H: harmonic mean of U and S. AUSUC: area under the seen-unseen curve."
    )
    if several:
        note += " Over seeds: mean, ± half the 95% interval of the mean (Student's t), and the standard deviation, sd."
    table = f'<table class="figures"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f'<div class="wide">{table}</div><p class="note">{note}</p>'


def _our_rows(name, runs):
    seeds = f"{len(runs)} seeds" if len(runs) > 1 else f"seed {runs[0].seed}"
    rows = [_row("ours", name, f"{seeds}, epochs chosen on validation", runs, FIGURES)]
    if "H_cal" in runs[0].figures:
        names = ("", "U_cal", "S_cal", "H_cal", "")
        rows.append(_row("cal", "calibrated", "a constant off seen scores, chosen on validation", runs, names))
    if "oracle_H" in runs[0].figures:
        names = [f"oracle_{figure}" for figure in FIGURES]
        rows.append(_row("oracle", "oracle", "epochs picked on the test images: not a result", runs, names))
    return rows


def _row(kind, name, words, runs, names):
    cells = "".join(
        f"<td>{_over_seeds([run.figures[figure] for run in runs]) if figure else ''}</td>" for figure in names
    )
    return f'<tr class="{kind}"><td>{escape(name)}<small class="under">{escape(words)}</small></td>{cells}</tr>'


def _over_seeds(values):
    over = spread(values)
    if over.count == 1:
        return f"{over.mean:.1f}"
    return f"{over.mean:.1f} <small>±{over.half:.1f}, sd {over.std:.1f}</small>"


def _published_rows(dataset):
    rows = []
    for row in files.read_csv(HERE / "published.csv"):
        if row["dataset"] != dataset:
            continue
        words = f"{row['source']}; ResNet-101, {row['semantics']}; picked on the test images"
        cells = "".join(f"<td>{row[figure] or NONE}</td>" for figure in ("T1", "U", "S", "H"))
        name = f'{escape(row["method"])}, published<small class="under">{escape(words)}</small>'
        rows.append(f'<tr class="published"><td>{name}</td>{cells}<td>{NONE}</td></tr>')
    return rows


def facts(benchmark):
    """The sizes of a data set in words."""
    seen = len(np.unique(benchmark.labels[benchmark.split == "trainval"]))
    classes = len(benchmark.class_names)
    return (
        f"{seen} seen and {classes - seen} unseen classes, {len(benchmark.labels):,} images,"
        f" {benchmark.attributes.shape[1]}-d semantics, {benchmark.features.shape[1]}-d features"
    )


def section(name, runs, benchmark):
    """All that is shown of one data set."""
    first = runs[0]
    parts = [
        f'<h2 id="{name}">{SETS[name]}</h2><p class="facts">{facts(benchmark)}</p>',
        '<div class="grid">',
        figure(
            "Seen-unseen curve",
            figures.seen_unseen(runs),
            "Every trade between seen and unseen classes that one constant, taken off the seen scores, can make."
            " Dashed: places of equal H.",
            [
                ("line", "ink", f"area {first.figures['AUSUC']:.1f}"),
                ("round", "chosen", f"as is, H {first.figures['H']:.1f}"),
            ]
            + (
                [("round hollow", "chosen", f"calibrated, H {first.figures['H_cal']:.1f}")]
                if "H_cal" in first.figures
                else []
            ),
        ),
        figure(
            "Selection on validation",
            figures.selection(runs),
            f"Epoch {first.selected['epoch']} was chosen, the one with the largest H on validation classes."
            + (f" Shown in full for seed {first.seed}; faint: H of the other seeds." if len(runs) > 1 else ""),
            [
                ("line", "ink", "H"),
                ("line", "unseen", "U"),
                ("line", "seen", "S"),
                ("line", "t1", "T1"),
                ("round", "chosen", "chosen"),
            ],
        ),
        "</div>",
    ]
    charts = figures.training(first)
    if charts:
        parts.append(
            f'<figure><h3>Training</h3><div class="small">{"".join(charts)}</div><figcaption>Mean of each term over'
            f" the epoch, seed {first.seed}, up to the chosen epoch; the model of the last point was kept."
            "</figcaption></figure>"
        )
    parts.append(
        figure(
            "Accuracy of each class",
            figures.accuracies(first),
            f"Among all classes, seed {first.seed}; sorted. Hover over a bar for its class.",
            [("round", "unseen", "unseen"), ("round", "seen", "seen")],
        )
    )
    parts.append(extremes(first))
    return "\n".join(parts)


def figure(title, svg, caption, key=()):
    """A chart with its heading, key and caption."""
    marks = "".join(
        f'<span><i class="{kind}" style="--k:var(--{colour})"></i>{escape(words)}</span>' for kind, colour, words in key
    )
    key_html = f'<div class="key">{marks}</div>' if marks else ""
    return f"<figure><h3>{escape(title)}</h3>{key_html}{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def extremes(run, most=5):
    """The best and the worst unseen classes by their accuracy among all classes."""
    rows = sorted((row for row in run.per_class if row["domain"] == "unseen"), key=lambda row: -float(row["gzsl"]))
    count = min(most, math.ceil(len(rows) / 2))

    def table(title, chosen):
        cells = "".join(
            f"<tr><td>{escape(row['class_name'])}</td><td>{row['gzsl']}</td><td>{row['czsl']}</td></tr>"
            for row in chosen
        )
        head = "<tr><th></th><th>among all</th><th>among unseen</th></tr>"
        return f"<figure><h3>{title}</h3><table><thead>{head}</thead><tbody>{cells}</tbody></table></figure>"

    best, worst = rows[:count], rows[::-1][: len(rows) - count][:most]
    return f'<div class="grid">{table("Best unseen classes", best)}{table("Worst unseen classes", worst)}</div>'
