"""The error tree. The type says what happens next; the text says what happened, what to do and what is safe.

AtlanMetaError
├── TransientError      the same call may work later: retry (Airflow: RETRY; services: back off)
│   ├── LeaseLostError  somebody else owns the partition now: read the ledger and plan again
│   ├── RowsMovedError  a row was written since it was read: read and plan again
│   └── MappingMovedError  the mappings have changed since the batch was derived: derive again
├── RejectedError       this one record will never work: dead letter, the batch goes on
└── TerminalError       no retry helps: stop (Airflow: FAIL)
    ├── ConfigurationError   wrong usage or settings: the command line answers 2
    ├── FileError       a file that people write, every problem with its line: 2
    └── PatternError    a subscription's pattern says what the language does not know: 2
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# of a file's problems: the first ones usually cause the others
_TOLD = 20


class AtlanMetaError(Exception):
    """Base of everything this package raises on purpose."""


class TransientError(AtlanMetaError):
    """Retry may help. Nothing was lost: the ledger still stands where the last commit left it.

    :param retry_after: seconds to wait before the next try, when the other side named them.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.args[0], {"retry_after": self.retry_after}))


class LeaseLostError(TransientError):
    """The commit found another owner or another offset in the ledger; nothing of the batch was written."""


class RowsMovedError(TransientError):
    """Somebody wrote a row between our read and our write; nothing of the batch was written."""


class MappingMovedError(TransientError):
    """The batch was derived under mappings that have changed since; nothing of it was written."""


class RejectedError(AtlanMetaError):
    """One record cannot be processed, now or later.

    :param reason: a short, stable phrase without values of the record; groups equal failures (fingerprint).
    :param detail: where in the record, bounded, free of secrets.
    """

    def __init__(self, reason: str, *, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.reason, {"detail": self.detail}))


class TerminalError(AtlanMetaError):
    """No retry helps; the text names the cure."""


class ConfigurationError(TerminalError):
    """A setting, connection or argument is missing or wrong."""


class PatternError(TerminalError):
    """A pattern that cannot be understood, told whole.

    :param problems: path in the pattern (keys and positions) and what is wrong there, with its cure.
    """

    def __init__(self, problems: Sequence[tuple[tuple[str | int, ...], str]]) -> None:
        super().__init__("; ".join(f"{spelled_path(path)}: {text}" for path, text in problems))
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.problems,))


class FileError(TerminalError):
    """What is wrong with a file that people write. Nothing of it was applied.

    :param file: as people name it.
    :param problems: line (0: the file as a whole) and what is wrong there, with its cure.
    """

    def __init__(self, file: str, problems: Iterable[tuple[int, str]]) -> None:
        self.file = file
        self.problems = tuple(sorted(problems, key=lambda problem: problem[0]))
        told = [
            f"{file}:{line}: {text}" if line else f"{file}: {text}" for line, text in self.problems[:_TOLD]
        ]
        left = len(self.problems) - len(told)
        super().__init__("\n".join([*told, f"... and {left} more"] if left else told))

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.file, self.problems))


def spelled_path(path: Sequence[str | int]) -> str:
    """``("status", "to", 0)`` as people write it: ``match.status.to[0]``."""
    return "match" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


def _rebuild(kind: type[AtlanMetaError], message: str, keywords: dict[str, object]) -> AtlanMetaError:
    """Exceptions with keyword arguments cross process borders (Airflow pickles them)."""
    return kind(message, **keywords)
