"""The report's charts, each from the rows of a run's CSVs to an SVG."""

import math

from pipeline.report import aggregate, svg
from pipeline.report.embedding import spaced

BARS = 1000
"""Classes whose accuracy is drawn: there are 900 pixels for them."""

CONFUSED = 100
"""Classes of the confusion matrix."""

CELLS = 4000
"""Cells of the confusion matrix, each of which tells its classes and images."""


def number(row, name):
    return float(row[name])


def seen_unseen(runs):
    """S against U as the constant subtracted from seen scores grows; the first run's area, and the points used.

    The filled point is the plain argmax (constant 0), the ring the one with validation's constant.
    """
    curves = [[(number(row, "U"), number(row, "S")) for row in run.curve] for run in runs]
    top = [svg.nice(0, max(max(value[i] for value in curve) for curve in curves) or 1)[1] for i in (0, 1)]
    plot = svg.Plot("Seen-unseen curve", (0, top[0]), (0, top[1]))
    plot.axes("U, accuracy on unseen classes (%)", "S, accuracy on seen classes (%)")
    plot.area(curves[0], "ours")
    for curve in curves[1:]:
        plot.line(curve, "ours faint")
    plot.line(curves[0], "ours")
    for height in (20, 40, 60, 80):
        _equal_h(plot, height)
    for run in reversed(runs):
        faint = "" if run is runs[0] else " faint"
        plain, cal = run.figures, "H_cal" in run.figures
        plot.dot(plain["U"], plain["S"], f"ours solid{faint}", 5, f"seed {run.seed}: H {plain['H']:.1f}")
        if cal:
            tip = f"seed {run.seed}, calibrated: H {plain['H_cal']:.1f}"
            plot.dot(plain["U_cal"], plain["S_cal"], f"ours ring{faint}", 5, tip)
    return str(plot)


def _equal_h(plot, height):
    """A faint line of equal H: S = H U / (2 U - H)."""
    points = []
    for i in range(1, 121):
        u = height / 2 + (plot.x[1] - height / 2) * (i / 120) ** 3
        s = height * u / (2 * u - height) if 2 * u > height else math.inf
        if 0 <= s <= plot.y[1] and u <= plot.x[1]:
            points.append((u, s))
    if len(points) > 8:
        plot.line(points, "equal")
        plot.text(*points[-1], f"H {height}", "hint", "end", dy=-4)


def selection(runs):
    """Figures on validation by epoch: H of every seed, T1, U and S of the first; the chosen epochs marked."""
    sweeps = [aggregate.best_by_epoch(run) for run in runs]
    last = max(row["epoch"] for sweep in sweeps for row in sweep)
    first = min(row["epoch"] for sweep in sweeps for row in sweep)
    top = max(row[name] for sweep in sweeps for row in sweep for name in ("T1", "U", "S", "H"))
    plot = svg.Plot("Validation by epoch", (min(first, last - 1), last), (0, svg.nice(0, top or 1)[1]))
    plot.axes("epoch", "accuracy on validation (%)", [tick for tick in svg.ticks(*plot.x) if tick == int(tick)])
    for name, kind in (("T1", "t1"), ("U", "unseen"), ("S", "seen")):
        plot.line([(row["epoch"], row[name]) for row in sweeps[0]], kind)
    for run, sweep in reversed(list(zip(runs, sweeps, strict=True))):
        faint = "" if run is runs[0] else " faint"
        plot.line([(row["epoch"], row["H"]) for row in sweep], f"ours{faint}")
        chosen = run.selected["epoch"]
        if run is runs[0]:
            plot.rule(chosen)
        height = next(row["H"] for row in sweep if row["epoch"] == chosen)
        plot.dot(chosen, height, f"ours solid{faint}", 5, f"seed {run.seed}: epoch {chosen}, H {height:.1f}")
    return str(plot)


def training(run):
    """A small chart a loss term, each on its own scale, over the epochs that validation chose."""
    names = [name for name in (run.history[0] if run.history else {}) if name != "epoch"]
    charts = []
    for name in names:
        points = [(number(row, "epoch"), number(row, name)) for row in run.history]
        values = [y for _, y in points]
        last = points[-1][0]
        plot = svg.Plot(name, (min(1, last - 1), last), svg.nice(min(values), max(values)), 216, 124, (20, 10, 22, 44))
        low, high = plot.y
        plot.axes("", "", [1, last] if last > 1 else [1], [low, high])
        plot.text(plot.x[0], high, name, "term", dx=0, dy=-8)
        plot.line(points, "ours")
        plot.dot(*points[-1], "ours solid", 3.5, f"epoch {last:g}: {values[-1]:.4g}")
        charts.append(str(plot))
    return charts


def accuracies(run, column="gzsl"):
    """Per-class accuracies, sorted within seen and unseen classes, one stem a class; of more than BARS classes so many,
    evenly from the best to the worst of each kind. (chart, in words what was left out)."""
    rows = [row for row in run.per_class if row[column] != ""]
    ordered = sorted(rows, key=lambda row: (row["domain"] == "seen", -number(row, column)))
    counts = {kind: sum(row["domain"] == kind for row in ordered) for kind in ("unseen", "seen")}
    left_out = ""
    if len(rows) > BARS:
        left_out = f" Drawn: {BARS:,} of the {len(rows):,} classes, evenly from the best to the worst of each kind."
        share = min(max(2, round(BARS * counts["unseen"] / len(rows))), BARS - 2)
        ordered = spaced(ordered[: counts["unseen"]], share) + spaced(ordered[counts["unseen"] :], BARS - share)
    plot = svg.Plot("Accuracy of each class", (0, len(ordered)), (0, 100), 900, 220, (10, 10, 26, 48))
    plot.axes("", "accuracy (%)", [], [0, 25, 50, 75, 100])
    step = plot.px(1) - plot.px(0)
    width = step - 1 if step > 5 else step
    for i, row in enumerate(ordered):
        top, ground = plot.py(number(row, column)), plot.py(0)
        tip = f"<title>{svg.escape(row['class_name'])}: {row[column]} % of {row['images']} images</title>"
        # a class that is never right keeps a hair of a bar
        top = min(top, ground - 1)
        place = f'x="{plot.px(i):.1f}" y="{top:.1f}" width="{width:.1f}" height="{ground - top:.1f}"'
        plot.add(f'<rect class="bar {row["domain"]}" {place}>{tip}</rect>')
    unseen = sum(row["domain"] == "unseen" for row in ordered)
    for first, count, name in ((0, unseen, "unseen"), (unseen, len(ordered) - unseen, "seen")):
        if count:
            words = f"{counts[name]:,} {name} classes"
            plot.text(first + count / 2, 0, words, "name", "middle", dy=18)
    return str(plot), left_out


def _confused(run, protocol):
    """(rows of the confusion to draw, the classes' names in order, images of each, in words what was left out)."""
    rows = [row for row in run.confusion if row["protocol"] == protocol]
    names = sorted({row["actual"] for row in rows} | {row["predicted"] for row in rows})
    judged = [row for row in run.per_class if row["domain"] == "unseen"]
    total = {row["class_name"]: int(row["images"]) for row in judged}
    if len(names) <= CONFUSED and len(rows) <= CELLS:
        return rows, names, total, ""
    judged.sort(key=lambda row: (-float(row["czsl"]), row["class_name"]))
    kept = names if len(names) <= CONFUSED else [row["class_name"] for row in spaced(judged, CONFUSED)]
    kept, every = set(kept), len(names)
    rows = [row for row in rows if row["actual"] in kept and row["predicted"] in kept]
    rows = sorted(rows, key=lambda row: -int(row["images"]))[:CELLS]
    share = sum(int(row["images"]) for row in rows) / sum(total.get(name, 0) for name in kept)
    left_out = (
        f" Drawn: {len(kept):,} of {every:,} classes, evenly from the best to the worst, and what {share:.0%} of their"
        " images were taken for; other classes and rarer mistakes are left out."
    )
    return rows, sorted(kept), total, left_out


def confusion(run, protocol="czsl"):
    """Confusion among unseen classes as shares of each row, in the order of the classes' names; of more than CONFUSED
    classes so many, and of more than CELLS cells the commonest. (chart, in words what was left out)."""
    rows, names, total, left_out = _confused(run, protocol)
    place = {name: i for i, name in enumerate(names)}
    n = len(names)
    named = n <= 25
    side, left = 380, 150 if named else 24
    cell = side / max(n, 1)
    plot = svg.Plot("Confusion among unseen classes", (0, n), (0, n), left + side + 4, side + 30, (4, 4, 26, left))
    plot.add(f'<rect class="sheet" x="{left}" y="4" width="{side}" height="{side}"/>')
    for row in rows:
        i, j, share = place[row["actual"]], place[row["predicted"]], int(row["images"]) / total[row["actual"]]
        tip = f"{row['actual']} taken for {row['predicted']}: {row['images']} of {total[row['actual']]}"
        kind = "cell hit" if i == j else "cell miss"
        at = f'x="{left + j * cell:.1f}" y="{4 + i * cell:.1f}" width="{cell:.2f}" height="{cell:.2f}"'
        plot.add(f'<rect class="{kind}" {at} opacity="{share:.2f}"><title>{svg.escape(tip)}</title></rect>')
    if named:
        for name, i in place.items():
            place = f'x="{left - 5}" y="{4 + (i + 0.5) * cell + 3.5:.1f}"'
            plot.add(f'<text class="tick" {place} text-anchor="end">{svg.escape(shorten(name, 24))}</text>')
    else:
        middle = f"translate(14 {4 + side / 2:.0f}) rotate(-90)"
        plot.add(f'<text class="name" transform="{middle}" text-anchor="middle">true class</text>')
    words = "taken for, in the same order"
    plot.add(f'<text class="name" x="{left + side / 2:.0f}" y="{side + 22}" text-anchor="middle">{words}</text>')
    return str(plot), left_out


def clouds(drawn, shown, kind):
    """The clouds `shown` of an `embedding.Map`, on axes that all its clouds share.

    Dots are test images, crosses samples; a numbered disc stands at the mean of each class's images, and a line leads
    from it to the ring at the mean of its samples. For a model without samples the cross is the class's semantics.
    """
    points = [point for cloud in (*drawn.unseen, *drawn.seen) for set_ in (cloud.real, cloud.made) for point in set_]
    (left, bottom), (right, top) = (f(zip(*points, strict=True)) for f in (_least, _most))
    pad_x, pad_y = 0.04 * (right - left), 0.04 * (top - bottom)
    plot = svg.Plot(
        f"Map of {kind} classes", (left - pad_x, right + pad_x), (bottom - pad_y, top + pad_y), 440, 400, (4, 4, 24, 24)
    )
    plot.add(f'<rect class="sheet" x="24" y="4" width="{440 - 28}" height="{400 - 28}"/>')
    names = [f"axis {i + 1}, {100 * share:.0f} % of the images' variance" for i, share in enumerate(drawn.shares)]
    plot.add(f'<text class="name" x="230" y="394" text-anchor="middle">{names[0]}</text>')
    plot.add(f'<text class="name" transform="translate(14 190) rotate(-90)" text-anchor="middle">{names[1]}</text>')
    single = drawn.kind == "semantics"
    for i, cloud in enumerate(shown):
        for point in cloud.made:
            plot.cross(*point, f"c{i}{'' if single else ' thin'}", 6 if single else 2.5, cloud.name)
        for point in cloud.real:
            plot.dot(*point, f"c{i} cloud", 3, cloud.name)
    for i, cloud in enumerate(shown):
        if not len(cloud.real):
            continue
        centre = cloud.real.mean(0)
        if not single and len(cloud.made):
            made = cloud.made.mean(0)
            plot.line([centre, made], f"c{i} link")
            plot.dot(*made, f"c{i} ring", 5, f"{cloud.name}: mean of its samples")
        plot.dot(*centre, f"c{i} badge", 8.5, f"{cloud.name}: mean of its test images")
        plot.text(*centre, str(i + 1), "digit", "middle", dy=4)
    return str(plot)


def _least(columns):
    return [min(column) for column in columns]


def _most(columns):
    return [max(column) for column in columns]


def shorten(name, most):
    """A class's name in `most` characters: beginnings and ends tell classes apart, so the middle is left out."""
    if len(name) <= most:
        return name
    end = (most - 1) // 2
    return f"{name[: most - 1 - end]}…{name[-end:]}"
