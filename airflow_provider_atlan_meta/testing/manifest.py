"""What was posted and what was answered, a JSON line per post: the only thing the oracle believes.

A post without an answer is *unanswered*: it may have taken effect once or not at all, and is never sent again
silently. Lines stand in the order of the answers, so posts of one subject stand in the order they were sent.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO


@dataclass(frozen=True, kw_only=True)
class SentPost:
    """One post and its answer.

    :param run: which pass it belongs to.
    :param sent_at: seconds since 1970, just before the request left.
    :param status: None: no answer came.
    :param ids: the event ids of a 202.
    :param error: why no answer came.
    """

    run: str
    seq: int
    tenant: str
    kind: str
    subject: str | None
    body: bytes
    expected_status: int
    sent_at: float
    answered_at: float | None = None
    status: int | None = None
    ids: tuple[str, ...] = ()
    error: str = ""

    @property
    def accepted(self) -> bool:
        return self.status == 202

    @property
    def indeterminate(self) -> bool:
        """May have taken effect: no answer, or one that says "not all of it"."""
        return self.status is None or self.status >= 500

    def to_json(self) -> str:
        fields: dict[str, Any] = asdict(self)
        try:
            fields["body"] = self.body.decode()
        except UnicodeDecodeError:
            del fields["body"]
            fields["body_base64"] = base64.b64encode(self.body).decode()
        return json.dumps(fields)

    @classmethod
    def from_json(cls, line: str) -> SentPost:
        fields = json.loads(line)
        raw = fields.pop("body_base64", None)
        fields["body"] = base64.b64decode(raw) if raw is not None else fields["body"].encode()
        fields["ids"] = tuple(fields["ids"])
        return cls(**fields)


class Manifest:
    """Appends posts to a file, each flushed: a killed sender leaves what it knew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def append(self, post: SentPost) -> None:
        if self._file is None:
            raise ValueError("open the manifest first: with Manifest(path) as manifest")
        self._file.write(post.to_json() + "\n")
        self._file.flush()


def read_manifest(path: Path) -> list[SentPost]:
    """Every whole line; a line cut off by a kill belongs to a post whose answer nobody saw."""
    return list(_whole_lines(path.read_text(encoding="utf-8").splitlines(keepends=True)))


def _whole_lines(lines: Iterable[str]) -> Iterator[SentPost]:
    for line in lines:
        if line.endswith("\n"):
            yield SentPost.from_json(line)
