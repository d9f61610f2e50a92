"""A table of a study's rows: python -m pipeline.study table

Models by data sets: mean over seeds and half the 95% interval of the mean (Student's t), the best of each data set in
bold, and p of the paired t-test, seed by seed, of H against the row with the best H. Published figures stand beside;
their epochs were picked on the test images. Writes results/studies/table.md, .tex, .csv and .html, and prints the
first.

    python -m pipeline.study table
    python -m pipeline.study table results/ablations/flo-bsegn.jsonl --out results/studies/flowers
"""

import argparse
import math
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

from pipeline.common import files, params
from pipeline.common.errors import UserError
from pipeline.protocol.metrics import FIGURES
from pipeline.report import page, sections
from pipeline.report.statistics import Spread, compare, spread
from pipeline.study import grid, rows

PUBLISHED = "published, picked on test"
NOTE = (
    "Percent: mean over seeds, ± half the 95% interval of the mean (Student's t). Bold: the best of the data set. "
    "p: paired t-test of H, seed by seed, against the row with the best H."
)
PICKED = " Published rows are for comparison; their epochs were picked on the test images, which flatters them."


@dataclass(frozen=True)
class Line:
    """One row of the table. method: the model and what was laid over it; by_seed: {figure: {seed: percent}};
    best: figures in which it is the best of its data set; p: of H against the best, or None; made: commands, commits"""

    dataset: str
    method: str
    by_seed: dict
    best: frozenset = frozenset()
    p: float | None = None
    made: tuple = ()

    def figure(self, name):
        """The `Spread` of a figure, or None."""
        values = self.by_seed.get(name)
        return spread(list(values.values())) if values else None

    @property
    def seeds(self):
        return sorted(self.by_seed["H"])


def gather(paths):
    """The rows of files of rows. Raises UserError where there are none with figures on the test images."""
    found = []
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: is not there; `python -m pipeline.study grid` writes one")
        for row in rows.read(path):
            named = re.match(rf"({'|'.join(params.DATASETS)})-({'|'.join(params.MODELS)})\b", path.stem)
            if not {"dataset", "model"} <= set(row) and named:
                row |= {"dataset": named[1], "model": named[2]}
            if {"dataset", "model", "seed", "H"} <= set(row):
                found.append(row)
    if not found:
        raise UserError(f"{paths[0]}: holds no row with figures on the test images")
    return found


def lines(found):
    """The `Line` of each data set, model and variant; of rows with the same seed the last counts."""
    groups = {}
    for row in found:
        name = row["dataset"], row["model"], row.get("variant", "")
        groups.setdefault(name, {})[row["seed"]] = row
    made = [_line(*name, group) for name, group in groups.items()]
    order = [name for name in params.DATASETS if any(line.dataset == name for line in made)]
    return [line for name in order for line in _judged([line for line in made if line.dataset == name])]


def _line(dataset, model, variant, group):
    by_seed = {name: {seed: row[name] for seed, row in group.items() if name in row} for name in FIGURES}
    method = page.NAMES[model] + (f", {variant}" if variant else "")
    return Line(dataset, method, by_seed, made=tuple(_made(list(group.values()))))


def _made(group):
    """(command, commit) of rows, those that differ in the seed alone as one."""
    found = {}
    for row in group:
        command = re.sub(r"seeds=\[\d+\]", "seeds=[{}]", row.get("command", "").replace("{", "{{").replace("}", "}}"))
        found.setdefault((command, row.get("commit") or "no commit"), []).append(str(row["seed"]))
    for (command, commit), seeds in found.items():
        if command:
            yield command.format(",".join(seeds)), commit


def _judged(of_set):
    """The lines of one data set with the best marked and compared with."""
    means = {name: [line.figure(name).mean if line.figure(name) else -math.inf for line in of_set] for name in FIGURES}
    top = of_set[max(range(len(of_set)), key=lambda i: means["H"][i])]
    for i, line in enumerate(of_set):
        best = frozenset(name for name in FIGURES if len(of_set) > 1 and means[name][i] == max(means[name]))
        found = compare(top.by_seed["H"], line.by_seed["H"]) if line is not top else None
        yield Line(line.dataset, line.method, line.by_seed, best, found and found.p, line.made)


def published(dataset):
    """Rows of what was published for a data set: (method, {figure: text})."""
    for row in files.read_csv(Path(page.__file__).parent / "published.csv"):
        if row["dataset"] == dataset:
            yield f"{row['method']} ({row['source']}; {row['features']}, {row['semantics']})", row


def cell(line, name, bold, plus):
    """A figure of a line, as text."""
    found = line.figure(name)
    if found is None:
        return page.NONE
    text = f"{found.mean:.1f}" + (f" {plus} {found.half:.1f}" if found.count > 1 else "")
    return bold.format(text) if name in line.best else text


def p_text(line):
    """p, where there is one."""
    return f"{line.p:.2g}" if line.p is not None and math.isfinite(line.p) else ""


def cells(line, bold, plus):
    """All cells of a line after its name."""
    return [*(cell(line, name, bold, plus) for name in FIGURES), ", ".join(map(str, line.seeds)), p_text(line)]


def markdown(found):
    """The table as lines of Markdown, and what made each row."""
    head = ["data", "method", *FIGURES, "seeds", "p"]
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for dataset, of_set in by_set(found):
        for line in of_set:
            yield f"| {sections.SETS[dataset]} | {' | '.join([line.method, *cells(line, '**{}**', '±')])} |"
        for method, row in published(dataset):
            figures = [row.get(name) or page.NONE for name in FIGURES]
            yield f"| {sections.SETS[dataset]} | {method}; {PUBLISHED} | {' | '.join(figures)} |  |  |"
    yield ""
    yield NOTE + PICKED * any(True for dataset, _ in by_set(found) for _ in published(dataset))
    yield ""
    for line in found:
        for command, commit in line.made:
            yield f"- {sections.SETS[line.dataset]}, {line.method} ({commit}): `{command}`"


def by_set(found):
    """(data set, its lines), in order."""
    for dataset in dict.fromkeys(line.dataset for line in found):
        yield dataset, [line for line in found if line.dataset == dataset]


def latex(found):
    """The table as lines of LaTeX, with the rules of booktabs; what made each row as comments."""
    yield f"% {NOTE.replace('%', ' per cent').replace('±', '+-')}"
    for line in found:
        for command, commit in line.made:
            yield f"% {sections.SETS[line.dataset]}, {line.method} ({commit}): {command}"
    yield r"\begin{tabular}{l" + "r" * (len(FIGURES) + 1) + "}"
    yield r"\toprule"
    yield " & ".join(["", *FIGURES, "$p$"]) + r" \\"
    for dataset, of_set in by_set(found):
        yield r"\midrule"
        yield rf"\multicolumn{{{len(FIGURES) + 2}}}{{l}}{{{sections.SETS[dataset]}}} \\"
        for line in of_set:
            shown = [cell(line, name, r"\mathbf{{{}}}", r"\pm") for name in FIGURES]
            shown = [f"${text}$" if text != page.NONE else "--" for text in shown]
            yield " & ".join([texts(line.method), *shown, p_text(line)]) + r" \\"
        for method, row in published(dataset):
            figures = [row.get(name) or "--" for name in FIGURES]
            yield rf"\textit{{{texts(method)}; {PUBLISHED}}} & " + " & ".join([*figures, ""]) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"


def texts(text):
    """Plain text in LaTeX."""
    marks = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return re.sub(r"[\\~^&%$#_{}]", lambda found: marks.get(found[0], "\\" + found[0]), text)


def plain(found):
    """A dictionary a line, for CSV."""
    for line in found:
        row = {"dataset": line.dataset, "method": line.method, "seeds": " ".join(map(str, line.seeds))}
        for name in FIGURES:
            over = line.figure(name) or Spread(math.nan, math.nan, math.nan, 0)
            row |= {name: _number(over.mean), f"{name}_half": _number(over.half), f"{name}_std": _number(over.std)}
        commands, commits = zip(*line.made, strict=True) if line.made else ((), ())
        yield row | {"p": p_text(line), "command": "; ".join(commands), "commit": "; ".join(commits)}


def _number(value):
    return f"{value:.4f}" if math.isfinite(value) else ""


def html(found):
    """The table as a page in the report's style, which asks no network for anything."""
    head = "".join(f"<th>{name}</th>" for name in ("", *FIGURES, "p"))
    body = []
    for dataset, of_set in by_set(found):
        name = sections.SETS[dataset]
        body.append(f'<tr class="set"><th colspan="{len(FIGURES) + 2}" scope="rowgroup">{name}</th></tr>')
        for line in of_set:
            *shown, seeds, p = cells(line, "<b>{}</b>", "±")
            under = f'<small class="under">seeds {seeds}</small>'
            tds = "".join(f"<td>{text}</td>" for text in (*shown, p))
            body.append(f'<tr class="ours"><td>{escape(line.method)}{under}</td>{tds}</tr>')
        for method, row in published(dataset):
            tds = "".join(f"<td>{escape(row.get(name) or page.NONE)}</td>" for name in FIGURES)
            under = f'<small class="under">{PUBLISHED}</small>'
            body.append(f'<tr class="published"><td>{escape(method)}{under}</td>{tds}<td></td></tr>')
    made = "".join(
        f"<li>{sections.SETS[line.dataset]}, {escape(line.method)} ({escape(commit)}):"
        f" <code>{escape(command)}</code></li>"
        for line in found
        for command, commit in line.made
    )
    parts = [
        "<header><h1>Models by data sets</h1></header>",
        f'<div class="wide"><table class="figures"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody>'
        f'</table></div><p class="note">{NOTE}{PICKED if "published" in "".join(body) else ""}</p>',
        f'<section class="ran"><h2>What made the rows</h2><ul>{made}</ul></section>',
    ]
    return page.document("Models by data sets", parts)


def arguments(commands):
    """The command line, as one of the study's commands."""
    head, _, rest = __doc__.partition("\n\n")
    form = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser("table", help="rows as a table", description=head, epilog=rest, formatter_class=form)
    parser.set_defaults(command=main)
    parser.add_argument("rows", nargs="*", type=Path, default=[Path(grid.OUT)], help=f"by default {grid.OUT}")
    parser.add_argument(
        "--out", type=Path, default=Path("results/studies/table"), help="name of the files, without end"
    )


def main(args):
    """Write the tables and print one."""
    found = lines(gather(args.rows))
    text = "\n".join(markdown(found))
    for end, content in {"md": text, "tex": "\n".join(latex(found)), "html": html(found)}.items():
        with files.replacing(args.out.with_name(f"{args.out.name}.{end}"), "w") as file:
            file.write(f"{content}\n")
    files.write_csv(args.out.with_name(f"{args.out.name}.csv"), plain(found))
    print(text)
