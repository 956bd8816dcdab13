"""A circuit breaker per endpoint: while it is down nobody spends a timeout on it, and one call at a time asks again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BreakerPolicy:
    """:param failures: in a row, until it opens.
    :param pause: seconds until the first probe; doubles with every probe that fails, up to ``longest_pause``.
    """

    failures: int = 5
    pause: float = 5.0
    longest_pause: float = 60.0


@dataclass(slots=True)
class BreakerState:
    """:ivar opened_at: None: closed. :ivar probing_since: a probe is under way (half-open)."""

    failures: int = 0
    opened_at: float | None = None
    pause: float = 0.0
    probing_since: float | None = None


class Breaker:
    """``now`` is a monotonic clock's. An answer that says the endpoint works is a success, a 4xx included."""

    def __init__(self, policy: BreakerPolicy, state: BreakerState | None = None) -> None:
        self.policy = policy
        self.state = state or BreakerState()

    def retry_at(self) -> float:
        """From when on ``allows`` may say yes again; 0 when closed."""
        state = self.state
        if state.opened_at is None:
            return 0.0
        return (state.opened_at if state.probing_since is None else state.probing_since) + state.pause

    def allows(self, now: float) -> bool:
        """Whether a call may start. Yes while open is a probe: no second one until it is answered or overdue."""
        if self.state.opened_at is None:
            return True
        if now < self.retry_at():
            return False
        self.state.probing_since = now
        return True

    def succeeded(self) -> None:
        self.state = BreakerState()

    def failed(self, now: float) -> None:
        state, policy = self.state, self.policy
        state.failures += 1
        if state.opened_at is not None:
            # calls that were under way when it opened say nothing new
            if state.probing_since is None:
                return
            state.pause = min(state.pause * 2, policy.longest_pause)
        elif state.failures < policy.failures:
            return
        else:
            state.pause = policy.pause
        state.opened_at, state.probing_since = now, None
