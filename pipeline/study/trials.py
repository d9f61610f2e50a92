"""The trials of a search, which Optuna draws and keeps in a file: asked and told, by several drivers at once."""

import os
import socket
import warnings

from pipeline.common.errors import UserError
from pipeline.models.base.space import OneOf


def load():
    """Optuna, imported. Raises UserError where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise UserError("Optuna, which draws the settings, is not installed here; `pip install 'optuna>=4'`") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


GRACE = 30
"""Seconds after which the lock of a killed process is broken."""


def _mend(path, lock):
    """Cut off the last line of a journal that a kill left without its end: what comes after it could not be read.

    Under the lock, for another driver may be about to end its line.
    """
    lock.acquire()
    try:
        if (data := path.read_bytes()) and not data.endswith(b"\n"):
            os.truncate(path, data.rfind(b"\n") + 1)
    finally:
        lock.release()


class Trials:
    """A file of trials of some ranges ({dotted key: a range}); seed: of what is drawn."""

    def __init__(self, path, ranges, seed):
        self.optuna, self.path, self.ranges = load(), path, ranges
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        journal = self.optuna.storages.journal
        # absolute, for the lock is a link to it, by whose age that of a killed process is told
        whole = str(path.absolute())
        lock = journal.JournalFileSymlinkLock(whole, GRACE)
        _mend(path, lock)
        storage = self.optuna.storages.JournalStorage(journal.JournalFileBackend(whole, lock))
        self.study = self.optuna.create_study(
            storage=storage, study_name="search", direction="maximize", load_if_exists=True
        )
        count = len(self.study.get_trials(deepcopy=False))
        # the seed moves on with the trials, or going on would draw the same again
        self.study.sampler = self.optuna.samplers.TPESampler(seed=seed + count, multivariate=True, constant_liar=True)
        self.distributions = {key: self._distribution(drawn) for key, drawn in ranges.items()}
        self._take_up()

    def _distribution(self, drawn):
        distributions = self.optuna.distributions
        if isinstance(drawn, OneOf):
            return distributions.CategoricalDistribution(drawn.values)
        return distributions.FloatDistribution(drawn.low, drawn.high, log=drawn.log)

    def same(self, held):
        """Raise UserError where the search was begun with something else, and say where that was other code alone.

        held: {words: plain value}
        """
        before = self.study.user_attrs.get("held")
        if before is None:
            self.study.set_user_attr("held", held)
            return
        for name in [name for name in held if held[name] != before.get(name)]:
            if name == "code":
                print(f"{self.path}: was begun with other code, by which earlier trials may not hold", flush=True)
                continue
            short = [kept for kept in (before.get(name), held[name]) if isinstance(kept, int) or len(str(kept)) < 10]
            shown = f" ({short[0]}, now {short[1]})" if len(short) == 2 else ""
            raise UserError(f"{self.path}: was begun with other {name}{shown}; go on as it was begun, or give a --name")

    def configured(self, value=None):
        """What the params as configured come to; with a value, that is kept."""
        if value is not None:
            self.study.set_user_attr("configured", value)
        return self.study.user_attrs.get("configured")

    def _take_up(self):
        """Try again what a driver that is no more was at."""
        running = self.optuna.trial.TrialState.RUNNING
        for trial in self.study.get_trials(deepcopy=False, states=(running,)):
            if gone(trial.user_attrs.get("by", "")):
                self.study.tell(trial.number, state=self.optuna.trial.TrialState.FAIL)
                self.study.enqueue_trial(trial.params)

    def tried(self):
        """How many were begun by anyone, or wait."""
        return len(self.study.get_trials(deepcopy=False))

    def ask(self, first=None):
        """(trial, {key: value}); first: to be tried now, where all of it is in the ranges."""
        if first and all(within(self.ranges[key], value) for key, value in first.items()):
            self.study.enqueue_trial(first)
        trial = self.study.ask(self.distributions)
        trial.set_user_attr("by", f"{socket.gethostname()}:{os.getpid()}")
        return trial, {key: _rounded(trial.params[key]) for key in self.ranges}

    def tell(self, trial, value, curve):
        """It ended well, with a value at each look."""
        self._report(trial, curve)
        self.study.tell(trial, value)

    def prune(self, trial, curve):
        """It was stopped."""
        self._report(trial, curve)
        self.study.tell(trial, state=self.optuna.trial.TrialState.PRUNED)

    def fail(self, trial):
        """Nothing came of it."""
        self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)

    def _report(self, trial, curve):
        for look, value in enumerate(curve):
            trial.report(value, look)

    def curves(self):
        """A list of values, one a look, of each that ended well."""
        complete = self.optuna.trial.TrialState.COMPLETE
        found = self.study.get_trials(deepcopy=False, states=(complete,))
        return [[trial.intermediate_values[look] for look in sorted(trial.intermediate_values)] for trial in found]

    def all(self):
        """(number, state, value or None, {key: value}) of each that ended, in order."""
        for trial in self.study.get_trials(deepcopy=False):
            if trial.state.is_finished():
                value = trial.value if trial.state.name == "COMPLETE" else None
                drawn = {key: _rounded(trial.params[key]) for key in self.ranges if key in trial.params}
                yield trial.number, trial.state.name.lower(), value, drawn


def within(drawn, value):
    """Whether a range holds a value."""
    if isinstance(drawn, OneOf):
        return value in drawn.values
    return isinstance(value, int | float) and drawn.low <= value <= drawn.high


def gone(by):
    """Whether a driver, written host:process, was of this host and is no more."""
    host, _, process = by.partition(":")
    if host != socket.gethostname() or not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _rounded(value):
    """As it is trained with, written and applied: four digits say it, and params.yaml stays legible."""
    return float(f"{value:.4g}") if isinstance(value, float) else value
