"""Every state a small model can reach, breadth first: a trace that breaks it is a shortest one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

State = TypeVar("State", bound=Hashable)


def broken(
    init: State,
    step: Callable[[State], Iterable[tuple[str, State]]],
    wrong: Callable[[State, bool], str | None],
    *,
    limit: int = 400_000,
) -> list[str]:
    """The steps to a state that is wrong, and why; nothing if there is none. ``wrong`` hears whether it is an end."""
    parent: dict[State, tuple[State, str] | None] = {init: None}
    queue = deque([init])
    while queue:
        state = queue.popleft()
        steps = list(step(state))
        if reason := wrong(state, not steps):
            trace = [reason]
            while (link := parent[state]) is not None:
                state, label = link
                trace.append(label)
            return trace[::-1]
        for label, after in steps:
            if after not in parent:
                parent[after] = (state, label)
                queue.append(after)
        assert len(parent) < limit, "the model is too large to be searched whole"
    return []
