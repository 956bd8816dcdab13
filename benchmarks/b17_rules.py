"""B17: who hears of a change: 100 rules of one tenant, 10,000 of a hundred, and what decoding costs beside it.

The gate is in microseconds, which no machine shares: they are scaled by how fast this machine runs a loop of the same
kind of work at the same time, against the machine the limit was set on.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec

from airflow_provider_atlan_meta.core.changes import ChangeEvent, decode_change
from airflow_provider_atlan_meta.core.leaves import row_of
from airflow_provider_atlan_meta.core.routing import Router, Subscription
from airflow_provider_atlan_meta.testing.subscriptions import realistic_changes, realistic_subscriptions
from benchmarks.measure import Cost, cost_of, median_ratio, rates, take_turns
from benchmarks.results import Row, row

ID = "B17"
MICROSECONDS = 20.0
GROWTH = 2.0
# What one turn of the calibration loop took on the machine the limit was set on (CPython 3.11, one of two busy CPUs).
_REFERENCE_US = 1.06
_CHANGES = 1_000
_TENANTS = 100


def run(rounds: int, quick: bool) -> list[Row]:
    passes = 5 if quick else 20
    hundred = realistic_subscriptions(100)
    changes = realistic_changes(_CHANGES)
    values = [msgspec.json.encode(change) for change in changes]
    router, naive = Router(hundred), _Naive(hundred)
    _check_equal(router, naive, changes)
    many, spread = _many_tenants()
    contenders: dict[str, Callable[[], Cost]] = {
        "route": _work(router.route, changes, passes),
        "naive": _work(naive.route, changes, passes),
        "decode": _work(decode_change, values, passes),
        "many": _work(many.route, spread, passes),
        "loop": _work(_calibration_turn, changes, passes * 10),
    }
    costs = take_turns(contenders, rounds)
    cpu = {name: [cost.client for cost in measured] for name, measured in costs.items()}
    us = {name: rates(measured, passes * _CHANGES).cpu_us for name, measured in costs.items()}
    loop_us = us["loop"] / 10
    scaled = (
        statistics.median(ours / (loop / 10) for ours, loop in zip(cpu["route"], cpu["loop"], strict=True))
        * _REFERENCE_US
    )
    return [
        row(
            ID,
            "100 rules of one tenant, per change / every rule asked, compiled",
            ours=us["route"],
            peer=us["naive"],
            unit="µs CPU per change; ratio: µs on the reference machine",
            ratio=scaled,
            target=MICROSECONDS,
            at_most=True,
            rounds=rounds,
            loop_us=loop_us,
        ),
        row(
            ID,
            "10,000 rules of 100 tenants / 100 rules of one",
            ours=us["many"],
            peer=us["route"],
            unit="µs CPU per change",
            ratio=median_ratio(cpu["many"], cpu["route"]),
            rounds=rounds,
        ),
        row(
            ID,
            "a change decoded and checked / routed by 100 rules",
            ours=us["decode"],
            peer=us["route"],
            unit="µs CPU per change",
            ratio=median_ratio(cpu["decode"], cpu["route"]),
            rounds=rounds,
        ),
    ]


class _Naive:
    """The same compiled patterns without the index."""

    def __init__(self, subscriptions: Sequence[Subscription]) -> None:
        self._tests = [(one, one.match.compiled.test) for one in subscriptions]

    def route(self, change: ChangeEvent) -> tuple[Subscription, ...]:
        row = row_of(change)
        return tuple([one for one, test in self._tests if test(change, row)])


def _check_equal(router: Router, naive: _Naive, changes: Sequence[ChangeEvent]) -> None:
    hits = 0
    for change in changes:
        heard = router.route(change)
        if heard != naive.route(change):
            raise RuntimeError(f"the index and the patterns disagree on change {change.change_id}")
        hits += len(heard)
    if not len(changes) < hits < 10 * len(changes):
        raise RuntimeError(f"{hits} hits of {len(changes)} changes: these rules are not realistic")


def _many_tenants() -> tuple[Router, list[ChangeEvent]]:
    """Rules of many tenants and their changes in no order, so that no tenant's rules stay in the CPU's cache."""
    tenants = [f"t{number:03}" for number in range(_TENANTS)]
    rules = [realistic_subscriptions(100, tenant=name, seed=seed) for seed, name in enumerate(tenants)]
    spread = [
        change
        for seed, name in enumerate(tenants)
        for change in realistic_changes(_CHANGES // _TENANTS, tenant=name, seed=seed)
    ]
    Random(3).shuffle(spread)
    return Router([one for own in rules for one in own]), spread


def _calibration_turn(change: ChangeEvent) -> int:
    """What rules are made of: calls, look-ups in a row, tests of texts."""
    found = 0
    row = change.after or change.before or {}
    for column, text in _ASKED:
        value = row.get(column)
        if type(value) is str and text in value:
            found += 1
    return found


_ASKED = tuple(
    (column, "1") for column in ("title", "owner", "status", "url", "severity", "type", "name", "platform")
)


def _work(call: Callable[[Any], object], items: Sequence[Any], passes: int) -> Callable[[], Cost]:
    def work() -> None:
        for _ in range(passes):
            for item in items:
                call(item)

    return lambda: cost_of(work)
