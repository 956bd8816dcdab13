"""Rounds of contenders taking turns, and what one round costs in wall time and CPU of client and server."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one round, in seconds. ``server`` is the CPU of the PostgreSQL backend, 0 where there is none."""

    wall: float
    client: float
    server: float = 0.0

    @property
    def cpu(self) -> float:
        return self.client + self.server


def cost_of(work: Callable[[], object], *, backend: int | None = None) -> Cost:
    """Runs ``work`` once.

    :param backend: pid of the server process that works for it.
    """
    gc.collect()
    server, client, started = backend_seconds(backend), time.process_time(), time.perf_counter()
    work()
    wall = time.perf_counter() - started
    return Cost(wall, time.process_time() - client, backend_seconds(backend) - server)


def backend_seconds(pid: int | None) -> float:
    """CPU time of a process, in the kernel's nanoseconds."""
    if pid is None:
        return 0.0
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def take_turns(contenders: Mapping[str, Callable[[], Cost]], rounds: int) -> dict[str, list[Cost]]:
    """Every contender once per round; every second round in the other order, so that drift hits all alike."""
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for number in range(rounds):
        names = list(contenders)
        for name in names if number % 2 == 0 else reversed(names):
            costs[name].append(contenders[name]())
    return costs


@dataclass(frozen=True, slots=True)
class Rates:
    """What rounds of ``count`` units came to: medians, and the extremes of the wall rate.

    :ivar cpu_us: client and server, per unit.
    """

    per_second: float
    slowest: float
    fastest: float
    cpu_us: float
    client_us: float
    server_us: float


def rates(costs: Sequence[Cost], count: int) -> Rates:
    walls = [count / cost.wall for cost in costs]

    def per_unit(seconds: Sequence[float]) -> float:
        return statistics.median(seconds) / count * 1e6

    return Rates(
        per_second=statistics.median(walls),
        slowest=min(walls),
        fastest=max(walls),
        cpu_us=per_unit([cost.cpu for cost in costs]),
        client_us=per_unit([cost.client for cost in costs]),
        server_us=per_unit([cost.server for cost in costs]),
    )


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Round by round, then the median: what slowed a whole round cancels out."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))
