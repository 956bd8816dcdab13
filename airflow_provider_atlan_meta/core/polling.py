"""What a poller does next: decisions only, the clock is passed in.

A trigger asks and waits; the objects here say what moved, what to tell and how long to wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class OffsetRange:
    """One partition moved from ``start`` to ``end`` (exclusive). A wake-up, not a work list.

    ``start == end`` on a first look: nothing is known of what was there before.
    """

    partition: int
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class WatchPolicy:
    """How often to look, how often to tell, and how long to wait after failures."""

    poll_seconds: float = 0.25
    min_interval_seconds: float = 1.0
    backoff_first_seconds: float = 1.0
    backoff_max_seconds: float = 60.0


@dataclass(frozen=True, kw_only=True)
class WatchOutcome:
    """``moved`` is to be told when it is not empty; the next look is due after ``wait_seconds``."""

    moved: tuple[OffsetRange, ...] = ()
    wait_seconds: float


class OffsetWatch:
    """Turns looks at end offsets into wake-ups.

    Guarantees: the first successful look always tells (it covers what came while nobody watched); one outcome
    holds all partitions that moved; two outcomes that tell are at least ``min_interval_seconds`` apart, and
    what moves in between is in the next one; failures wait 1, 2, 4 ... seconds up to the limit.
    """

    def __init__(self, policy: WatchPolicy | None = None) -> None:
        self._policy = policy or WatchPolicy()
        self._told: Mapping[int, int] | None = None
        self._tell_again_at = float("-inf")
        self._failures = 0

    def on_ends(self, ends: Mapping[int, int], *, now: float) -> WatchOutcome:
        """A look succeeded. ``ends``: end offset per partition; ``now``: any monotonic clock, in seconds."""
        self._failures = 0
        policy = self._policy
        if now < self._tell_again_at:
            return WatchOutcome(wait_seconds=max(policy.poll_seconds, self._tell_again_at - now))
        moved = self._moved(ends)
        if not moved:
            return WatchOutcome(wait_seconds=policy.poll_seconds)
        self._told = dict(ends)
        self._tell_again_at = now + policy.min_interval_seconds
        return WatchOutcome(moved=moved, wait_seconds=max(policy.poll_seconds, policy.min_interval_seconds))

    def on_error(self, *, jitter: float) -> WatchOutcome:
        """A look failed: unknown topic, broker away. ``jitter``: 0 to 1, spreads many watchers."""
        seconds = self._policy.backoff_first_seconds * 2.0 ** min(self._failures, 30)
        self._failures += 1
        bounded = min(seconds, self._policy.backoff_max_seconds)
        return WatchOutcome(wait_seconds=bounded * (0.8 + 0.2 * jitter))

    def _moved(self, ends: Mapping[int, int]) -> tuple[OffsetRange, ...]:
        told = self._told
        if told is None:
            return tuple(OffsetRange(partition=p, start=end, end=end) for p, end in sorted(ends.items()))
        return tuple(
            OffsetRange(partition=partition, start=told.get(partition, 0), end=end)
            for partition, end in sorted(ends.items())
            if end != told.get(partition, 0)
        )
