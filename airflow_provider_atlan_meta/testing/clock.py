"""Time that passes only when told."""

from __future__ import annotations


class ManualClock:
    """Seconds; called like ``time.monotonic``. One clock for everybody makes a test's leases and polls agree."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
