"""POST to a service that owes us an answer: bounded in time as a whole and in bytes, no redirect, no repetition."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import httpx

from airflow_provider_atlan_meta.core.errors import ConfigurationError, TerminalError, TransientError

_CONNECT_SECONDS = 3.0
_MAX_ANSWER_BYTES = 16 << 20


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: httpx.Headers


class BoundedHttp:
    """May be used by several threads.

    :param of: whose answers these are, for errors. :param transport: stands in for the network in tests.
    """

    def __init__(self, of: str, transport: httpx.BaseTransport | None = None) -> None:
        self._of = of
        try:
            self._http = httpx.Client(transport=transport, headers={"accept": "application/json"})
        except (OSError, ValueError, httpx.InvalidURL) as error:
            raise ConfigurationError(
                f"no HTTP client can be made: {type(error).__name__}; check proxies and certificates"
            ) from error

    def close(self) -> None:
        self._http.close()

    def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_seconds: float,
        auth: httpx.Auth | None = None,
    ) -> Answer:
        """Any status is an answer.

        :param timeout_seconds: for all of it; an answer that stops in its middle may take as long once more.
        :raises TransientError: none in time. :raises TerminalError: one without an end.
        """
        if timeout_seconds <= 0:
            raise TransientError(f"no time was left to ask {self._of}")
        ends = time.monotonic() + timeout_seconds
        timeout = httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, _CONNECT_SECONDS))
        try:
            with self._http.stream(
                "POST", url, content=body, headers=dict(headers), auth=auth, timeout=timeout
            ) as answer:
                return Answer(answer.status_code, self._read(answer, ends), answer.headers)
        except httpx.HTTPError as error:
            raise TransientError(f"{self._of} gave no answer ({type(error).__name__})") from error

    def _read(self, answer: httpx.Response, ends: float) -> bytes:
        chunks, size = [], 0
        for chunk in answer.iter_bytes():
            size += len(chunk)
            if size > _MAX_ANSWER_BYTES:
                raise TerminalError(f"the answer of {self._of} is larger than {_MAX_ANSWER_BYTES >> 20} MiB")
            if time.monotonic() > ends:
                raise TransientError(f"the answer of {self._of} did not end in time")
            chunks.append(chunk)
        return b"".join(chunks)


def retry_after(headers: httpx.Headers, now: datetime) -> float | None:
    """Seconds until the other side wants to be asked again: it says a number or a date."""
    text = headers.get("retry-after", "")
    try:
        seconds = float(text) if text.isdecimal() else (parsedate_to_datetime(text) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds)
