"""Cases in child processes, each with a limit of time and memory; a child that hangs or dies is counted and replaced.

Time is the processor's, so that a busy machine fails no case.
"""

import contextlib
import multiprocessing
import os
import random
import resource
import shutil
import signal
import tempfile
import traceback
import zipfile
from collections import namedtuple
from multiprocessing import connection
from pathlib import Path

from pipeline.common import errors
from pipeline.common.errors import UserError
from pipeline.vision.images import BadImage
from tests.fuzz.mutate import mutate

ROOT = Path(__file__).parents[2]
SECONDS, MEMORY = 10, 4 << 30
# of the wall, for a child that waits for something that never comes
PATIENCE = 600
LONGEST = 20_000

REFUSED, TAKEN, SET_ASIDE = "refused", "taken", "set aside"
FAULTS = TRACEBACK, HANG, CRASH, MEMORY_FULL, UNTOLD = "traceback", "hang", "crash", "memory", "untold damage"
Result = namedtuple("Result", "number kind outcome detail")


def build(kinds, folder):
    """Make the valid files of each kind below `folder`, in a child, for the pool is to be forked from a process that
    has started no threads: {name: (paths to damage, what the reader takes of the valid ones)}."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_built, args=(kinds, Path(folder), theirs))
    child.start()
    theirs.close()
    try:
        found = ours.recv()
    except EOFError:
        raise SystemExit("the valid files could not be made; see above") from None
    child.join()
    return found


def _built(kinds, folder, pipe):
    _silence(1)
    found, of_make = {}, {}
    for name, kind in kinds.items():
        if kind.make in of_make:
            first = of_make[kind.make]
            shutil.copytree(folder / first, folder / name)
            paths = found[first][0]
        else:
            (folder / name).mkdir()
            paths, of_make[kind.make] = kind.make(folder / name), name
        with tempfile.TemporaryDirectory() as scratch, _copied(folder / name, scratch) as copy:
            valid = kind.read(copy)
        if valid is None:
            raise AssertionError(f"{name}: the valid files are refused")
        found[name] = paths, valid
    pipe.send(found)


def _silence(*streams):
    """Send what the readers print nowhere."""
    with open(os.devnull, "w") as nothing:
        for stream in streams:
            os.dup2(nothing.fileno(), stream)


@contextlib.contextmanager
def _copied(folder, scratch):
    """The files of a kind in a folder of their own, which is the working one for the block."""
    copy, before = Path(scratch) / "case", os.getcwd()
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    os.chdir(copy)
    try:
        yield copy
    finally:
        os.chdir(before)


class Case:
    """One case: which kind, which of its files, and how that is damaged, all from seed and number."""

    def __init__(self, kinds, made, folder, seed, number):
        self.kind = list(kinds.values())[number % len(kinds)]
        self.number, self.folder = number, Path(folder) / self.kind.name
        paths, self.valid = made[self.kind.name]
        self.generator = random.Random(f"{seed} {self.kind.name} {number}")
        self.path = self.generator.choice(paths)

    def run(self, scratch):
        """(outcome, detail) of the reader on the damaged files."""
        with _copied(self.folder, scratch) as copy:
            if not self._damage(copy):
                return TAKEN, "as it was"
            return self._read(copy)

    def _damage(self, copy):
        name, _, member = self.path.partition("!")
        path = copy / name
        before = zipfile.ZipFile(path).read(member) if member else path.read_bytes()
        after = (self.kind.remade or mutate)(self.generator, before)
        if not member:
            path.write_bytes(after)
        else:
            with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy / "new", "w") as new:
                for other in old.namelist():
                    new.writestr(other, after if other == member else old.read(other))
            os.replace(copy / "new", path)
        # archives that were listed are known by size and date
        os.utime(path, ns=(self.number, self.number))
        return after != before

    def _read(self, copy):
        try:
            found = self.kind.read(copy)
        except (UserError, BadImage, OSError) as error:
            if not str(error).strip() or len(str(error)) > LONGEST:
                return TRACEBACK, f"a message of {len(str(error)):,} characters"
            return REFUSED, str(error)
        except MemoryError:
            return MEMORY_FULL, _place(traceback.format_exc())
        except Exception as error:
            if errors.message(error):
                return REFUSED, errors.message(error)
            text = traceback.format_exc()
            kind = MEMORY_FULL if "can't allocate memory" in text else TRACEBACK
            return kind, _place(text)
        if found is None:
            return SET_ASIDE, ""
        if self.kind.sums and not self.kind.alike(self.valid, found):
            return UNTOLD, self.path
        return TAKEN, ""


def _place(text):
    """The last lines of a traceback that are ours, and its last."""
    lines = text.strip().splitlines()
    ours = [line.strip() for line in lines if f'File "{ROOT}/pipeline' in line]
    return f"{ours[-1].replace(str(ROOT) + '/', '') if ours else ''}: {lines[-1][:200]}"


def run(kinds, made, folder, seed, numbers, workers):
    """Yield a `Result` for each number, as they come."""
    waiting, children = list(reversed(numbers)), {}
    cases = {"kinds": kinds, "made": made, "folder": folder, "seed": seed}
    while waiting or children:
        while waiting and len(children) < workers:
            child = _Child(cases)
            child.give(waiting.pop())
            children[child.pipe] = child
        ready = connection.wait(list(children), PATIENCE)
        for pipe in ready or list(children):
            child = children[pipe]
            yield child.result(bool(ready))
            if child.alive and waiting:
                child.give(waiting.pop())
            else:
                child.end()
                del children[pipe]


class _Child:
    """A child process that runs cases one after another."""

    def __init__(self, cases):
        self.cases = cases
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(cases, theirs))
        self.process.start()
        theirs.close()
        self.number, self.alive = None, True

    def give(self, number):
        self.number = number
        self.pipe.send(number)

    def result(self, came):
        name = list(self.cases["kinds"])[self.number % len(self.cases["kinds"])]
        try:
            return Result(self.number, name, *(self.pipe.recv() if came else (HANG, "waited in vain")))
        except (EOFError, ConnectionError):
            self.alive = False
            self.process.join()
            return Result(self.number, name, *_death(self.process.exitcode))
        finally:
            self.alive = self.alive and came

    def end(self):
        if self.alive:
            self.pipe.send(None)
        elif self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.pipe.close()


def _death(code):
    if code == -signal.SIGPROF:
        return HANG, f"took more than {SECONDS} seconds of the processor"
    return CRASH, signal.Signals(-code).name if code < 0 else f"ended with status {code}"


def _work(cases, pipe):
    _silence(1, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = _mapped() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    with tempfile.TemporaryDirectory() as scratch:
        while (number := _asked(pipe)) is not None:
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            answer = Case(**cases, number=number).run(scratch)
            signal.setitimer(signal.ITIMER_PROF, 0)
            pipe.send(answer)


def _asked(pipe):
    try:
        return pipe.recv()
    except EOFError:
        return None


def _mapped():
    """Bytes of address space of this process, which limits count from."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 16 << 30
