"""Rounds alternate, and medians are taken over the rounds' own ratios."""

from __future__ import annotations

import pytest

from benchmarks import __main__ as command
from benchmarks.measure import Cost, cost_of, median_ratio, rates, take_turns


def test_contenders_take_turns_in_alternating_order() -> None:
    order: list[str] = []

    def contender(name: str) -> Cost:
        order.append(name)
        return Cost(1.0, 1.0)

    costs = take_turns({"ours": lambda: contender("ours"), "peer": lambda: contender("peer")}, rounds=3)
    assert order == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert {name: len(all_) for name, all_ in costs.items()} == {"ours": 3, "peer": 3}


def test_rates_are_medians_per_unit() -> None:
    measured = rates([Cost(1.0, 0.5, 0.5), Cost(2.0, 0.6, 0.2), Cost(4.0, 3.0, 1.0)], 1000)
    assert measured.per_second == 500
    assert (measured.slowest, measured.fastest) == (250, 1000)
    assert measured.cpu_us == 1000
    assert (measured.client_us, measured.server_us) == (600, 500)


def test_a_slow_round_slows_both_and_leaves_the_ratio() -> None:
    assert median_ratio([2.0, 20.0, 4.0], [1.0, 10.0, 2.0]) == 2.0


def test_the_cost_of_work_is_wall_and_cpu_time_of_this_process() -> None:
    cost = cost_of(lambda: sum(range(100_000)))
    assert cost.server == 0.0
    assert 0 < cost.client <= cost.cpu
    assert cost.wall > 0


def test_benchmarks_are_named_by_their_ids() -> None:
    options = command._parser().parse_args(["--only", "b1,B2w,B2',B12"])
    assert options.only == ["B1", "B2'", "B2'", "B12"]
    with pytest.raises(SystemExit):
        command._parser().parse_args(["--only", "B99"])


def test_the_short_run_is_part_of_the_long_one() -> None:
    assert set(command.QUICK) <= set(command.BENCHMARKS)
