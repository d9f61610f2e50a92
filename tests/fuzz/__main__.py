"""Damage small valid files of every kind that the pipeline reads, and see what its readers make of them.

    python -m tests.fuzz --cases 10000
    python -m tests.fuzz --cases 2000 --kinds zip tar png --seed 1
    python -m tests.fuzz --case 1234            one case again, with its traceback

A case should be refused in one line, set aside, or taken. A traceback, a hang, a crash, memory that runs out, or damage
that is taken though a checksum tells of it, is a fault: its numbers are listed, and the exit status is 1.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict

from tqdm import tqdm

# before PyTorch: a process that is forked should have no threads
os.environ["OMP_NUM_THREADS"] = "1"

from tests.fuzz import kinds as every_kind
from tests.fuzz import pool

SHOWN = 5


def parse(words):
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", type=int, default=10_000, help="how many; each kind gets as many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=None, help="of these alone; numbers of cases then are others")
    parser.add_argument("--case", type=int, default=None, help="run this one alone, and show what happens")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes at once")
    return parser.parse_args(words)


def main(words=None):
    args = parse(words)
    known = every_kind.every()
    if unknown := set(args.kinds or ()) - set(known):
        raise SystemExit(f"no such kind: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    kinds = {name: kind for name, kind in known.items() if not args.kinds or name in args.kinds}
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        made = pool.build(kinds, folder)
        if args.case is not None:
            return one(pool.Case(kinds, made, folder, args.seed, args.case))
        print(f"{len(kinds)} kinds made in {time.monotonic() - began:.0f} s", flush=True)
        running = pool.run(kinds, made, folder, args.seed, range(args.cases), args.workers)
        results = list(tqdm(running, total=args.cases, unit="case", disable=None))
    print(table(results))
    print(f"{len(results):,} cases, seed {args.seed}, in {time.monotonic() - began:.0f} s")
    found = faults(results)
    print("\n".join(found) or "no fault")
    return 1 if found else 0


def one(case):
    """Run one case here and show it."""
    with tempfile.TemporaryDirectory() as scratch, pool._copied(case.folder, scratch) as copy:
        case._damage(copy)
        print(f"{case.kind.name}: {case.path}, damaged")
        try:
            found = case.kind.read(copy)
        except (pool.UserError, pool.BadImage, OSError) as error:
            print(f"refused: {error}")
            return 0
    untold = case.kind.sums and found is not None and not case.kind.alike(case.valid, found)
    print("untold damage" if untold else "set aside" if found is None else "taken")
    return 1 if untold else 0


def table(results):
    """How many cases of each kind came to what."""
    counts = defaultdict(Counter)
    for result in results:
        counts[result.kind][result.outcome] += 1
    outcomes = pool.REFUSED, pool.SET_ASIDE, pool.TAKEN, *pool.FAULTS
    counts["all"] = sum(counts.values(), Counter())
    lines = ["".join(f"{word:>14}" for word in ("", *outcomes)).replace(" " * 14, " " * 24, 1)]
    lines += [
        f"{name:24}" + "".join(f"{of_kind[word] or '-':>14}" for word in outcomes) for name, of_kind in counts.items()
    ]
    return "\n".join(lines)


def faults(results):
    """A line a distinct fault: how often, what, and the numbers of the first cases."""
    by_place = defaultdict(list)
    for result in results:
        if result.outcome in pool.FAULTS:
            by_place[result.kind, result.outcome, result.detail].append(result.number)
    return [
        f"{len(numbers)} x {kind}: {outcome}: {detail} (--case {', '.join(map(str, sorted(numbers)[:SHOWN]))})"
        for (kind, outcome, detail), numbers in sorted(by_place.items(), key=lambda item: -len(item[1]))
    ]


if __name__ == "__main__":
    sys.exit(main())
