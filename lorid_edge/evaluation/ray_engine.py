"""Solves the problems of a run on the machines of a Ray cluster; needs the extra `ray`.

Each worker is an actor that opens the pack once. It is handed batches and sends every solution as
it is finished, so that what a lost worker had solved is kept and only the rest is done again, by
others. The driver alone writes the run's folder.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lorid_edge.errors import CancelledError, LoridError, UsageError
from lorid_edge.evaluation.handing_out import HandingOut
from lorid_edge.evaluation.ray_worker import Worker, WorkerSettings
from lorid_edge.loop.solution import Solution
from lorid_edge.problems import FileProblem

ADDRESS_VARIABLE = "RAY_ADDRESS"
TICK_SECONDS = 0.2
CONNECT_SECONDS = 5.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """A machine of the cluster, as far as workers go."""

    node: str
    cpus: int

    def workers(self, threads: int) -> int:
        """How many workers of so many threads it takes; one even if it has fewer CPUs."""
        return max(1, self.cpus // threads)


class RayEngine:
    """A `SolvingEngine`. `close` ends the workers and, if it made it, the connection."""

    def __init__(self, settings: WorkerSettings, threads: int) -> None:
        """Connect and start a worker for every `threads` CPUs of each machine.

        Raises:
            LoridError: Ray is not installed, or has no machine.
            UsageError: there is no cluster.
        """
        _require_ray()
        self._made_connection = _connect()
        self._settings = settings
        self._cancelled = threading.Event()
        self._workers: dict[int, Any] = {}
        for machine in _machines():
            neighbours = machine.workers(threads)
            for _ in range(neighbours):
                number = len(self._workers)
                self._workers[number] = _start(settings, machine, threads, neighbours)
        if not self._workers:
            raise LoridError("The Ray cluster has no machine with a CPU; see 'ray status'.")

    def solve(self, problems: Sequence[FileProblem]) -> Iterator[Solution]:
        """See `SolvingEngine`. The workers load the pack at the beginning.

        Raises:
            LoridError: a worker cannot open the pack, or all workers are lost.
            CancelledError: `cancel` was called.
        """
        import ray

        in_flight = self._settings.load.in_flight
        work = HandingOut[int](problems, len(self._workers), smallest_batch=in_flight)
        busy: dict[Any, int] = {
            worker.open.remote(): number for number, worker in self._workers.items()
        }
        while work.unsolved:
            if self._cancelled.is_set():
                raise CancelledError("The evaluation was cancelled.")
            if not busy:
                raise LoridError(
                    f"All workers are lost; {work.unsolved} problems are not solved yet. See the "
                    "logs of Ray, and run the same command again to go on."
                )
            ready, _ = ray.wait(list(busy), num_returns=1, timeout=TICK_SECONDS)
            for item in ready:
                number = busy.pop(item)
                try:
                    solution = _next_solution(item)
                except _lost_errors() as error:
                    self._lose(number, work, error)
                else:
                    if solution is not None:
                        busy[item] = number  # there may be more of the batch
                        if work.solved(number, solution.line or 0):
                            yield solution
            idle = self._workers.keys() - busy.values()
            for number in sorted(idle):
                batch = work.next_batch(number)
                if batch:
                    solve = self._workers[number].solve.options(num_returns="streaming")
                    busy[solve.remote(batch)] = number

    def cancel(self) -> None:
        """See `SolvingEngine`."""
        self._cancelled.set()

    def close(self) -> None:
        """See `SolvingEngine`."""
        import ray

        for worker in self._workers.values():
            ray.kill(worker)
        self._workers = {}
        if self._made_connection:
            ray.shutdown()

    def _lose(self, number: int, work: HandingOut[int], error: Exception) -> None:
        del self._workers[number]
        _logger.warning(
            "worker %d is lost (%s); others solve its %d problems",
            number,
            type(error).__name__,
            work.lost(number),
        )


def _require_ray() -> None:
    if importlib.util.find_spec("ray") is None:
        raise LoridError("--engine ray needs Ray. Run: pip install 'lorid-edge[ray]'")


def _connect() -> bool:
    """Connect to the cluster, unless this process has; whether that was done here."""
    import ray

    if ray.is_initialized():
        return False
    address = os.environ.get(ADDRESS_VARIABLE, "auto")
    try:
        _require_listener(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"There is no Ray cluster at {address!r} ({str(error).splitlines()[0]}). Start one "
            f"with 'ray start --head', or set {ADDRESS_VARIABLE} to the address of one."
        ) from error
    return True


def _require_listener(address: str) -> None:
    """Raise OSError if nobody listens at host:port, for which Ray would wait for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()


def _machines() -> list[Machine]:
    """The machines that are up and have a CPU for tasks."""
    import ray

    machines = []
    for node in ray.nodes():
        cpus = int(node["Resources"].get("CPU", 0))
        if node["Alive"] and cpus:
            machines.append(Machine(node["NodeID"], cpus))
    return machines


def _start(settings: WorkerSettings, machine: Machine, threads: int, neighbours: int) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    own = min(threads, machine.cpus)
    placed = ray.remote(Worker).options(
        num_cpus=own,
        max_restarts=0,
        scheduling_strategy=NodeAffinitySchedulingStrategy(machine.node, soft=False),
    )
    return placed.remote(replace(settings, load=replace(settings.load, threads=own)), neighbours)


def _next_solution(item: Any) -> Solution | None:
    """What has come: a solution, or None where a pack was opened or a batch has ended.

    Raises:
        LoridError: what the worker's own code raised.
    """
    import ray

    is_opening = isinstance(item, ray.ObjectRef)
    try:
        content = ray.get(item if is_opening else next(item))
    except StopIteration:
        return None
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, LoridError):
            raise error.cause from None
        raise LoridError(f"A worker failed: {error.cause!r}") from error
    return None if is_opening else Solution.model_validate_json(content)


def _lost_errors() -> tuple[type[Exception], ...]:
    """What Ray raises when a worker's process or machine is gone."""
    from ray import exceptions

    return exceptions.RayActorError, exceptions.WorkerCrashedError, exceptions.ObjectLostError
