"""The page: one HTML file that holds everything it shows and asks no network for anything."""

import datetime
import string
from html import escape
from pathlib import Path

import yaml

from pipeline.common import files
from pipeline.protocol.metrics import FIGURES
from pipeline.report import provenance, sections
from pipeline.report.statistics import spread

HERE = Path(__file__).parent
NONE = "\N{EN DASH}"
NAMES = {"hsva": "HSVA", "bsegn": "BSeGN", "eszsl": "ESZSL"}


def page(model, sets):
    """The whole report as HTML. `sets`: a `Shown` a data set."""
    names = ", ".join(sections.SETS[shown.name] for shown in sets)
    body = [
        f"<header><h1>{NAMES[model]} on {names}</h1>",
        '<p class="lead">Generalised zero-shot learning: trained on images of seen classes, judged on images of seen'
        " and unseen ones. Epochs were chosen on validation classes, the test images were looked at once.</p>",
        _navigation(sets),
        "</header>",
        headline(model, sets),
        *(sections.section(shown) for shown in sets),
        what_ran(model, sets),
    ]
    return document(f"{NAMES[model]} on {names}", body)


def document(title, parts):
    """Parts of HTML as one self-contained page of this style."""
    template = string.Template((HERE / "page.html").read_text(encoding="utf-8"))
    style = (HERE / "style.css").read_text(encoding="utf-8")
    return template.substitute(title=escape(title), style=style, body="\n".join(parts))


def _navigation(sets):
    links = [(shown.name, sections.SETS[shown.name]) for shown in sets] + [("ran", "What ran")]
    return "<nav>" + "".join(f'<a href="#{target}">{words}</a>' for target, words in links) + "</nav>"


def headline(model, sets):
    """The table of all figures in percent, ours first, then what was published for the data set."""
    rows = []
    for shown in sets:
        words = f"{sections.SETS[shown.name]}<span>{sections.facts(shown)}</span>"
        rows.append(f'<tr class="set"><th colspan="6" scope="rowgroup">{words}</th></tr>')
        rows += _our_rows(NAMES[model], shown)
        rows += _published_rows(shown.name)
    head = (
        '<th></th><th>T1</th><th class="u">U</th><th class="s">S</th><th>H</th><th><abbr title="area under the'
        ' seen-unseen curve">AUSUC</abbr></th>'
    )
    several = any(len(shown.runs) > 1 for shown in sets)
    note = (
        "Percent. T1: accuracy among unseen classes alone; U and S: of unseen and seen classes among all; all three"
        " are means over classes. H: harmonic mean of U and S. AUSUC: area under the seen-unseen curve."
    )
    if several:
        note += " Over seeds: mean, ± half the 95% interval of the mean (Student's t), and the standard deviation, sd."
    if "published" in "".join(rows):
        note += (
            " Published rows are for comparison; test-selected: their epochs were picked on the test images, which"
            " flatters them."
        )
    table = f'<table class="figures"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f'{table}<p class="note">{note}</p>'


def _our_rows(name, shown):
    runs = shown.runs
    seeds = f"{len(runs)} seeds" if len(runs) > 1 else f"seed {runs[0].seed}"
    words = [sections.conditions(shown), seeds, "epochs chosen on validation"]
    names = [figure if figure in runs[0].figures else "" for figure in FIGURES]
    rows = [_row("ours", name, "; ".join(filter(None, words)), runs, names)]
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
    return f'{over.mean:.1f}<small class="under"><i>±{over.half:.1f}</i> <i>sd {over.std:.1f}</i></small>'


def _published_rows(dataset):
    rows = []
    for row in files.read_csv(HERE / "published.csv"):
        if row["dataset"] != dataset:
            continue
        words = f"{row['source']}; {row['features']}, {row['semantics']}; test-selected"
        cells = "".join(f"<td>{row[figure] or NONE}</td>" for figure in ("T1", "U", "S", "H"))
        name = f'{escape(row["method"])}, published<small class="under">{escape(words)}</small>'
        rows.append(f'<tr class="published"><td>{name}</td>{cells}<td>{NONE}</td></tr>')
    return rows


def what_ran(model, sets):
    """Versions, commit, hashes, params, and what each stage took."""
    words = ", ".join(f"{name} {version}" for name, version in provenance.versions().items())
    commit = provenance.commit()
    parts = [
        '<section class="ran"><h2 id="ran">What ran</h2>',
        f"<p>{words}. {f'Git commit {commit}.' if commit else 'Not in a git repository.'}"
        f" Written on {datetime.date.today():%d %B %Y}.</p>",
    ]
    for shown in sets:
        parts.append(f"<h3>{sections.SETS[shown.name]}</h3>")
        parts.append(_stages(shown.records) + _locked(shown))
    return "".join(parts) + "</section>"


def _stages(records):
    if not records:
        return '<p class="note">Nothing ran on this machine: the results came out of the cache or from elsewhere.</p>'
    rows = "".join(
        f"<tr><td>{escape(entry['stage'])} {escape(' '.join(entry['of'][1:]))}</td>"
        f"<td>{duration(entry['seconds'])}</td><td>{entry['memory'] / 2**30:.1f}</td>"
        f"<td>{_gigabytes(entry.get('device_memory'))}</td>"
        f"<td>{escape(entry['device'])}</td><td>{escape(entry['ended'][:16].replace('T', ' '))}</td></tr>"
        for entry in records
    )
    head = "<tr><th>stage, seed</th><th>time</th><th>GiB</th><th>GiB on GPU</th><th>device</th><th>ended</th></tr>"
    note = "The last run of each stage on this machine, with the peak memory of its process."
    table = f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"
    return f'<div class="wide">{table}</div><p class="note">{note}</p>'


def _gigabytes(count):
    return NONE if count is None else f"{count / 2**30:.1f}"


def duration(seconds):
    """Seconds in words: 8.3 s, 4 min 10 s, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _locked(shown):
    if not shown.hashes:
        return '<p class="note">No hashes: there is no dvc.lock here, the stages were not started by DVC.</p>'
    rows = "".join(
        f"<tr><td>{escape(path)}</td><td><code>{escape(md5)}</code></td></tr>"
        for path, md5 in sorted(shown.hashes.items())
    )
    params = escape(yaml.safe_dump(shown.params, sort_keys=True, default_flow_style=None, width=100))
    return (
        "<details><summary>Data and results, by their hash (MD5)</summary>"
        f'<div class="wide"><table class="hashes"><tbody>{rows}</tbody></table></div></details>'
        f"<details><summary>Params, as locked</summary><pre>{params}</pre></details>"
    )
