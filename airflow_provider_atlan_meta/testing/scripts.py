"""How the recorder misbehaves: the next ``times`` calls of a service; scripts queue up in the order posted.

======= ========================================= ===========================================================
mode    fields                                    what the caller sees
======= ========================================= ===========================================================
status  ``status`` (300-599), ``retry_after``     that status; the call has no effect
hang    ``seconds``                               nothing for so long, then 503; no effect
error   ``error``, e.g. ``channel_not_found``     the service's own refusal; no effect
partial ``error``                                 Monte Carlo's answer and, beside it, an error
cut     -                                         the call takes effect, then the connection is cut unanswered
delay   ``seconds``                               the effect after so long, also if the caller is gone by then
lag     ``seconds``                               Slack's history leaves out messages younger than that; Monte
                                                  Carlo answers with what it knew so long ago
======= ========================================= ===========================================================

All take ``service``, ``path`` (optional: its ending, e.g. ``chat.update``) and ``times`` (default 1). Slack's lag
is for ``conversations.history`` and ``conversations.replies`` unless ``path`` says which.
"""

from __future__ import annotations

from dataclasses import dataclass

SERVICES = ("slack", "webhook", "montecarlo")
HANG_MAX_SECONDS = 600.0
MODES = ("status", "hang", "error", "partial", "cut", "delay", "lag")
# modes that only some services have
_ONLY = {"error": ("slack", "montecarlo"), "lag": ("slack", "montecarlo"), "partial": ("montecarlo",)}
_HISTORY = ("conversations.history", "conversations.replies")


@dataclass(frozen=True, kw_only=True)
class Script:
    """One line of the table above.

    :raises ValueError: it means nothing.
    """

    service: str
    mode: str
    path: str = ""
    status: int = 500
    times: int = 1
    seconds: float = 30.0
    retry_after: float | None = None
    error: str = ""

    def __post_init__(self) -> None:
        if self.service not in SERVICES:
            raise ValueError(f"service must be one of {', '.join(SERVICES)}")
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}")
        if self.mode == "status" and not 300 <= self.status <= 599:
            raise ValueError("status must be 300 to 599")
        if self.service not in _ONLY.get(self.mode, SERVICES):
            raise ValueError(f"mode {self.mode} is for {' and '.join(_ONLY[self.mode])}")
        if self.mode in ("error", "partial") and not self.error:
            raise ValueError(f"mode {self.mode} needs the service's error in 'error'")
        if self.times < 1 or not 0 <= self.seconds <= HANG_MAX_SECONDS:
            raise ValueError(f"times must be at least 1 and seconds at most {HANG_MAX_SECONDS:.0f}")

    @property
    def has_effect(self) -> bool:
        return self.mode in ("partial", "cut", "delay", "lag")

    def matches(self, service: str, path: str) -> bool:
        if self.mode == "lag" and service == "slack" and not path.endswith(_HISTORY):
            return False
        return service == self.service and path.endswith(self.path)
