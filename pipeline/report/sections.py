"""The part of the page that is about one data set."""

from html import escape
from pathlib import Path

import numpy as np

from pipeline.common.errors import UserError
from pipeline.common.params import NO_FILE
from pipeline.report import drawing, figures, provenance

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


def facts(shown):
    """The sizes of a data set in words, and which semantics they are: what is not the same must not look it."""
    benchmark = shown.benchmark
    seen = len(np.unique(benchmark.labels[benchmark.split == "trainval"]))
    classes = len(benchmark.class_names)
    return (
        f"{seen} seen and {classes - seen} unseen classes, {len(benchmark.labels):,} images,"
        f" {benchmark.attributes.shape[1]}-d semantics ({escape(shown.semantics)}),"
        f" {benchmark.features.shape[1]}-d features"
    )


def section(shown):
    """All that is shown of one data set, a `contents.Shown`."""
    first = shown.runs[0]
    # without a photograph of an unseen class there is S alone
    judged = "H" in first.figures
    parts = [
        f'<section><h2 id="{shown.name}">{SETS[shown.name]}</h2><p class="facts">{escape(_made_by(shown))}</p>',
        f'<div class="grid">{_curve(shown.runs) if judged else ""}{_selection(shown.runs)}</div>',
        _training(first),
        _classes("Best unseen classes", shown.best),
        _classes("Worst unseen classes", shown.worst),
        f'<div class="grid">{_confusion(first)}{_confused(first)}</div>' if judged else "",
        _map(shown.map),
        _accuracies(first),
        _columns(shown.columns),
        _seeds(shown.runs),
    ]
    return "\n".join(parts) + "</section>"


def _made_by(shown):
    """The command that makes the rows of the table, and what training ended with, in words."""
    chosen = shown.runs[0].selected
    zeros = f" {shown.undecodable} undecodable images count as zeros." if shown.undecodable else ""
    return (
        f"Made by: {shown.command}."
        f" Chosen, seed {shown.runs[0].seed}: epoch {chosen['epoch']},"
        f" classifier epochs {chosen['gzsl_epoch']} (all classes) and {chosen['czsl_epoch']} (unseen alone).{zeros}"
    )


def conditions(shown):
    """Backbone, fine-tuning and semantics in words, from the params that DVC locked; "" where it locked none."""
    try:
        return _conditions(shown.name, shown.semantics, shown.params)
    except (AttributeError, KeyError, TypeError):
        raise UserError(f"dvc.lock: its params are not as DVC writes them; {provenance.LOCK_AGAIN}") from None


def _conditions(dataset, semantics, params):
    if "features" not in params and "features.source" not in params:
        return ""
    source = params.get("features.source") or params["features"]["source"]
    if (file := params.get(f"{dataset}.files.features", NO_FILE)) != NO_FILE:
        return f"features of {Path(file).name}, {semantics}"
    if source == "published":
        return f"published ResNet-101 features, {semantics}"
    own, common = params.get(f"{dataset}.backbone") or {}, params.get("backbone") or {}
    network = common | {key: value for key, value in own.items() if value is not None}
    tuned = (params.get("finetune") or {}) | (params.get(f"{dataset}.finetune") or {})
    start = "" if network.get("pretrained", True) else " from random weights"
    how = ", fine-tuned on seen classes" if tuned.get("epochs") else ", not fine-tuned"
    return f"{network.get('arch')}{start}{how}, {semantics}"


def figure(title, svg, caption, key=()):
    """A chart with its heading, key and caption. key: (mark, colour, words) each."""
    marks = "".join(
        f'<span><i class="{kind}" style="--k:var(--{colour})"></i>{escape(words)}</span>' for kind, colour, words in key
    )
    key_html = f'<div class="key">{marks}</div>' if marks else ""
    return f"<figure><h3>{escape(title)}</h3>{key_html}{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _curve(runs):
    first = runs[0].figures
    key = [("line", "ink", f"area {first['AUSUC']:.1f}"), ("round", "chosen", f"as trained, H {first['H']:.1f}")]
    if "H_cal" in first:
        key.append(("round hollow", "chosen", f"calibrated on validation, H {first['H_cal']:.1f}"))
    caption = (
        "Every trade between seen and unseen classes that one constant, taken off the seen scores, can make."
        " Dashed: points of equal H."
    )
    return figure("Seen-unseen curve", figures.seen_unseen(runs), caption + _which_seed(runs), key)


def _selection(runs):
    caption = f"Epoch {runs[0].selected['epoch']} was chosen: the largest H on validation classes."
    colours = (("ink", "H"), ("unseen", "U"), ("seen", "S"), ("t1", "T1"))
    key = [*(("line", colour, words) for colour, words in colours), ("round", "chosen", "chosen")]
    return figure("Selection on validation", figures.selection(runs), caption + _which_seed(runs), key)


def _which_seed(runs):
    return f" In full: seed {runs[0].seed}; faint: the other seeds." if len(runs) > 1 else ""


def _training(run):
    charts = figures.training(run)
    if not charts:
        return ""
    caption = f"Mean of each loss term over an epoch, seed {run.seed}. Training ended at the chosen epoch."
    small = f'<div class="small">{"".join(charts)}</div>'
    return f"<figure><h3>Training</h3>{small}<figcaption>{caption}</figcaption></figure>"


def _classes(title, classes):
    if not classes:
        return ""
    cards = "".join(_card(judged) for judged in classes)
    looked = any(example.looked for judged in classes for example in judged.examples)
    key = drawing.LEGEND if looked else ""
    return f'<figure><h3>{title}</h3>{key}<div class="cards">{cards}</div></figure>'


def _card(judged):
    photos = "".join(_photo(example, judged.name) for example in judged.examples)
    return (
        f'<div class="class"><h4>{escape(judged.name)}</h4>'
        f"<p><b>{judged.gzsl:.1f} %</b> among all classes, {judged.czsl:.1f} % among unseen ones,"
        f' {judged.images} images</p><div class="photos">{photos}</div></div>'
    )


def _photo(example, name):
    right = example.taken_for == name
    words = "recognised" if right else f"taken for {example.taken_for}"
    picture = (
        f'<img src="{example.address}" alt="{escape(name)}" width="144" height="144">'
        if example.address
        else '<span class="missing">no photograph</span>'
    )
    if example.looked:
        alt = f"what on it spoke for {example.taken_for}"
        picture += f'<img src="{example.looked}" alt="{escape(alt)}" width="144" height="144">'
    return f'<div class="{"hit" if right else "miss"}">{picture}<span>{escape(words)}</span></div>'


def _confusion(run):
    caption = (
        "Rows are true classes, columns what they were taken for, among unseen classes alone."
        " The stronger the colour, the larger the share."
    )
    chart, left_out = figures.confusion(run)
    key = [("round", "unseen", "right"), ("round", "chosen", "mistaken")]
    return figure("Confusion among unseen classes", chart, caption + left_out, key)


def _confused(run, most=8):
    """The commonest mistakes on images of unseen classes, among all classes."""
    unseen = {row["class_name"]: int(row["images"]) for row in run.per_class if row["domain"] == "unseen"}
    rows = [
        (row["actual"], row["predicted"], int(row["images"]))
        for row in run.confusion
        if row["protocol"] == "gzsl" and row["actual"] in unseen and row["actual"] != row["predicted"]
    ]
    rows.sort(key=lambda row: (-row[2] / unseen[row[0]], row))
    body = "".join(
        f"<tr><td>{escape(actual)}</td><td>{escape(predicted)}"
        f" <small>{'unseen' if predicted in unseen else 'seen'}</small></td>"
        f"<td>{count} of {unseen[actual]}</td></tr>"
        for actual, predicted, count in rows[:most]
    )
    head = "<tr><th>unseen class</th><th>taken for</th><th>images</th></tr>"
    listed = sum(count for *_, count in rows)
    to_seen = sum(count for _, predicted, count in rows if predicted not in unseen)
    right = sum(int(row["images"]) for row in run.confusion if _right(row) and row["actual"] in unseen)
    wrong = sum(unseen.values()) - right
    which = "mistakes" if listed == wrong else f"{listed:,} commonest of {wrong:,} mistakes"
    caption = f"Among all classes, {to_seen / max(listed, 1):.0%} of the {which} on unseen classes went to seen ones."
    table = f'<div class="wide"><table class="words"><thead>{head}</thead><tbody>{body}</tbody></table></div>'
    return f"<figure><h3>Commonest mistakes</h3>{table}<figcaption>{caption}</figcaption></figure>"


def _right(row):
    return row["protocol"] == "gzsl" and row["actual"] == row["predicted"]


def _map(drawn):
    samples = drawn.kind == "samples"
    made = {
        "unseen": "crosses: features synthesised from the class's semantics" if samples else "crosses: class semantics",
        "seen": "crosses: what the classifier was trained on" if samples else "crosses: class semantics",
    }
    parts = []
    for kind, shown in (("unseen", drawn.unseen), ("seen", drawn.seen)):
        names = "".join(
            f'<span><i class="round" style="--k:var(--c{i})"></i>{i + 1} {escape(cloud.name)}</span>'
            for i, cloud in enumerate(shown)
        )
        chart = figures.clouds(drawn, shown, kind)
        caption = f"Dots: test images; {made[kind]}." + (" Lines join their means." if samples else "")
        parts.append(
            f'<figure><h3>Map of {kind} classes</h3>{chart}<div class="key">{names}</div>'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    note = "The space that the classifier reads, in its two main axes; classes from the best to the worst."
    return f'<div class="grid">{"".join(parts)}</div><p class="note">{note}</p>'


def _accuracies(run):
    chart, left_out = figures.accuracies(run)
    return figure("Accuracy of each class", chart, f"Among all classes, seed {run.seed}, sorted.{left_out}")


def _columns(columns):
    """How each column of a user's table was taken, where there is one."""
    if not columns:
        return ""
    body = "".join(
        f"<tr><td>{escape(row['column'])}</td><td>{escape(row['taken'])}</td>"
        f"<td>{escape(row['attributes']) or 'left out'}</td></tr>"
        for row in columns
    )
    head = "<tr><th>column</th><th>taken as</th><th>attributes</th></tr>"
    table = f'<div class="wide"><table class="words"><thead>{head}</thead><tbody>{body}</tbody></table></div>'
    caption = (
        "What the table of classes was read as. A measurement becomes two attributes, a column of words one a word."
    )
    return f"<figure><h3>How the table was read</h3>{table}<figcaption>{caption}</figcaption></figure>"


def _seeds(runs):
    """Figures of each seed, where there are several."""
    if len(runs) == 1:
        return ""
    names = [name for name in runs[0].figures if not name.startswith("oracle_")]
    head = "".join(f"<th>{name.replace('_cal', ' cal.')}</th>" for name in names)
    body = "".join(
        f"<tr><td>{run.seed}</td>{''.join(f'<td>{run.figures[name]:.1f}</td>' for name in names)}"
        f"<td>{run.selected['epoch']}</td></tr>"
        for run in runs
    )
    table = f"<table><thead><tr><th>seed</th>{head}<th>epoch</th></tr></thead><tbody>{body}</tbody></table>"
    return f'<figure><h3>Seeds</h3><div class="wide">{table}</div></figure>'
