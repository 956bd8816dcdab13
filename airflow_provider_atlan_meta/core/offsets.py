"""How far the cursor of a partition may go: up to the lowest offset that is not finished."""

from __future__ import annotations

from heapq import heappop, heappush


class UnfinishedOffsets:
    """Offsets are started in their order and finished in any. One per partition.

    :param position: where the ledger's cursor stands.
    """

    def __init__(self, position: int) -> None:
        self._end = position
        self._open: set[int] = set()
        self._heap: list[int] = []

    def __len__(self) -> int:
        return len(self._open)

    @property
    def position(self) -> int:
        """The lowest unfinished offset, or where reading goes on when there is none."""
        while self._heap and self._heap[0] not in self._open:
            heappop(self._heap)
        return self._heap[0] if self._heap else self._end

    @property
    def end(self) -> int:
        """Where reading goes on."""
        return self._end

    def start(self, offset: int) -> None:
        """:raises ValueError: not behind what was started before."""
        if offset < self._end:
            raise ValueError(f"offset {offset} was started before; reading stands at {self._end}")
        self._end = offset + 1
        self._open.add(offset)
        heappush(self._heap, offset)

    def finish(self, offset: int) -> None:
        """Finishing twice is once."""
        self._open.discard(offset)

    def skip_to(self, offset: int) -> None:
        """Reading stands here: what lies between are markers of transactions, which are no records."""
        self._end = max(self._end, offset)
