"""Trainings on Ray: on all GPUs or cores of this machine, or of a cluster that stands already.

Each worker is an actor with its share of a GPU, or its threads, and does one step after the other. The code goes to the
hosts by itself; they need the same Python, Ray and PyTorch. Features go to a host once, into its object store. What
comes of a step comes back here, so no disk is shared; where one is, a worker that dies is gone on from on another host.
"""

import contextlib
import dataclasses
import logging
import os
import socket
import uuid
from pathlib import Path

from pipeline.common import machine
from pipeline.common.errors import UserError
from pipeline.study import trainings
from pipeline.study.hand import Hand, plain
from pipeline.study.work import Failed

PACKAGE = Path(__file__).parents[1]
TICK = 5.0
"""Seconds between two looks at which hosts there are."""
CONNECT = 10.0
"""Seconds that a cluster has to answer at its address."""


def load():
    """Ray, imported. Raises UserError where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UserError("--on ray: Ray is not installed here; `pip install 'ray>=2.60'`, or take --on here") from None
    return ray


class Cluster:
    """A place with room for as many trainings as there are shares of GPUs, or of cores.

    run: a `machine.Run`; per_gpu: trainings that share a GPU, or None for one, and for cores where there is no GPU;
    threads: of each; workers: at most so many, or None
    """

    def __init__(self, run, per_gpu=None, threads=None, workers=None):
        self.ray = load()
        self.threads = threads or run.threads or 1
        self.connected = self._connect()
        try:
            self.per_gpu = self._shares(run, per_gpu)
            self.device = "cuda" if self.per_gpu else "cpu"
            self.run = dataclasses.replace(run, device=self.device, threads=self.threads)
            self.most = self._most(workers)
            self._mark()
        except BaseException:
            self.ray.shutdown()
            raise
        self.sets = {}
        self.sent = {"features": 0, "steps": 0}
        self.hands, self.coming, self.idle, self.busy = {}, {}, [], {}
        self._grow()

    def _connect(self):
        address = os.environ.get("RAY_ADDRESS")
        words = address or "this machine"
        _answers(address)
        threads = {"OMP_NUM_THREADS": str(self.threads)}
        options = {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": False}
        if not address:
            options |= {"address": "local", "num_cpus": machine.available_cores()}
        else:
            options |= {"address": address}
            options.pop("include_dashboard")
        environment = {"py_modules": [str(PACKAGE)], "env_vars": threads}
        try:
            self.ray.init(runtime_env=environment, **options)
        # Ray raises of every kind, and ValueError where the token is another
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"--on ray: no cluster could be joined or started ({words}): {reason}") from None
        return words

    def _shares(self, run, per_gpu):
        """Trainings a GPU: as asked for; one where there are GPUs and nothing was said; None on processors."""
        gpus = self.ray.cluster_resources().get("GPU", 0)
        if per_gpu and not gpus:
            raise UserError(f"--per-gpu {per_gpu}: {self.connected} has no GPU; leave it out to train on processors")
        if per_gpu is None and gpus and not run.device.startswith("cpu"):
            return 1
        return per_gpu

    def _most(self, workers):
        room = self._room()
        if not room:
            raise UserError(f"--threads {self.threads}: no host of {self.connected} has so many cores")
        if workers and workers > room:
            each = f"{self.per_gpu} a GPU" if self.per_gpu else f"{self.threads} core(s) each"
            raise UserError(f"--workers {workers}: {self.connected} has room for {room}, {each}")
        return workers

    def _room(self):
        """How many workers fit on the hosts that are there now."""
        hosts = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if self.per_gpu:
            return sum(int(host.get("GPU", 0)) * self.per_gpu for host in hosts)
        return sum(int(host.get("CPU", 0)) // self.threads for host in hosts)

    def _mark(self):
        """A file by which a worker knows that it sees our checkpoints."""
        self.checkpoints = Path("checkpoints").absolute()
        self.checkpoints.mkdir(exist_ok=True)
        self.marked = self.checkpoints / f".shared-{uuid.uuid4().hex}"
        self.marked.touch()

    def _grow(self):
        """Forget workers whose host is gone, and ask for more where there is room."""
        alive = {node["NodeID"] for node in self.ray.nodes() if node["Alive"]}
        for hand in [hand for hand in self.idle if self.hands[hand].node not in alive]:
            self.idle.remove(hand)
            del self.hands[hand]
        wanted = min(self._room(), self.most or 1 << 30)
        share = {"num_gpus": 1 / self.per_gpu, "num_cpus": 0} if self.per_gpu else {"num_cpus": self.threads}
        actor = self.ray.remote(**share)(Hand)
        while len(self.hands) < wanted:
            hand = actor.remote(self.run, str(self.checkpoints), self.marked.name)
            self.hands[hand] = None
            self.coming[hand.where.remote()] = hand

    def room(self):
        """Whether another step may start. Where no worker is at work, the first that comes is waited for."""
        while not self.idle and not self.busy:
            self._look(TICK)
            self._grow()
            if not self.coming and not self.idle:
                raise UserError(f"--on ray: no host of {self.connected} is left that could train")
        return bool(self.idle)

    def start(self, ticket, step):
        """Begin a step on an idle worker. Where that is, in words."""
        hand = self.idle.pop()
        benchmark = self._there(step.training.dataset)
        self.sent["steps"] += len(step.model or b"")
        self.busy[hand.do.remote(step, benchmark)] = hand, ticket
        return self.hands[hand].words

    def _there(self, dataset):
        """A data set in the object store, once."""
        if dataset not in self.sets:
            benchmark = plain(trainings.benchmark(dataset)[0])
            self.sent["features"] += benchmark.features.nbytes
            self.sets[dataset] = self.ray.put(benchmark)
        return self.sets[dataset]

    def wait(self):
        """[(ticket, outcome)] of steps that ended; none where a worker came, or after a while."""
        ended = []
        for reference in self._look(TICK):
            if reference in self.busy:
                hand, ticket = self.busy.pop(reference)
                ended.append((ticket, self._outcome(reference, hand)))
        self._grow()
        return ended

    def _look(self, seconds):
        """Which of the steps and of the workers to come are ready; workers that came are idle from then on."""
        ready, _ = self.ray.wait([*self.busy, *self.coming], num_returns=1, timeout=seconds)
        for reference in [reference for reference in ready if reference in self.coming]:
            hand = self.coming.pop(reference)
            try:
                self.hands[hand] = self.ray.get(reference)
                self.idle.append(hand)
            except self.ray.exceptions.RayError as error:
                del self.hands[hand]
                # one whose host went while it came is asked for again; one that cannot begin never will
                if not isinstance(error, self.ray.exceptions.RayActorError) or error.actor_init_failed:
                    raise UserError(f"--on ray: a worker could not start: {_brief(error)}") from None
        return ready

    def _outcome(self, reference, hand):
        exceptions = self.ray.exceptions
        try:
            outcome = self.ray.get(reference)
        except (exceptions.RayActorError, exceptions.WorkerCrashedError, exceptions.OutOfMemoryError) as error:
            where = self.hands.pop(hand)
            return Failed(f"its worker died ({where.words}): {_brief(error)}", lost=True)
        except exceptions.RayError as error:
            self.idle.append(hand)
            return Failed(_brief(error))
        self.idle.append(hand)
        return outcome

    def close(self):
        """Let the workers go; a Ray that was started here ends."""
        with contextlib.suppress(OSError):
            self.marked.unlink(missing_ok=True)
        self.ray.shutdown()


def _answers(address):
    """Raise UserError where nothing answers at host:port, for which Ray itself waits minutes."""
    host, separator, port = (address or "").rpartition(":")
    if not separator or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), CONNECT).close()
    except OSError as error:
        raise UserError(
            f"RAY_ADDRESS={address}: no cluster answers there ({error}); `ray start --head` begins one"
        ) from None


def _brief(error):
    """The first lines of what Ray says, which can be a page."""
    return " ".join(str(error).split())[:300]
