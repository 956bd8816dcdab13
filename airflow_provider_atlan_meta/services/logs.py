"""Logs of the services: one JSON object per line on stderr, secrets masked in all of them.

Fields: time, level, event, logger, and where known tenant, event_id, event_key, trace_id, stage, outcome.
Never a payload. Lines of uvicorn and librdkafka take the same way.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any, TextIO

import structlog

_MASK = "***"
# Shorter ones would blank out half of every line and protect nothing.
_MIN_SECRET_CHARS = 4
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class SecretMask:
    """The one processor that keeps secrets out of logs. Fed with them as connections are read."""

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()

    def add(self, secrets: Iterable[str]) -> None:
        fresh = {secret for secret in secrets if len(secret) >= _MIN_SECRET_CHARS}
        # longest first: one may contain another
        self._secrets = tuple(sorted(fresh.union(self._secrets), key=len, reverse=True))

    def __call__(
        self, logger: Any, method: str, line: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        del logger, method
        return {key: self._masked(value) for key, value in line.items()} if self._secrets else line

    def _masked(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, dict):
            return {self._masked(str(key)): self._masked(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._masked(item) for item in value]
        text = str(value)
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, _MASK)
        return text


def configure_logs(level: str, mask: SecretMask, stream: TextIO | None = None) -> None:
    """Once per process, before the first line.

    :param level: DEBUG, INFO, WARNING or ERROR; anything else is taken as INFO.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
        mask,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper() if level.upper() in _LEVELS else "INFO")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    return structlog.stdlib.get_logger(name)
