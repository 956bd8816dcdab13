"""Logs of a service, caught, and everything as before afterwards."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator

import pytest
import structlog

from airflow_provider_atlan_meta.services.logs import SecretMask, configure_logs


@pytest.fixture
def lines() -> Iterator[Callable[..., tuple[SecretMask, io.StringIO]]]:
    """``lines(level)``: the mask in force and the stream that is written to."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def configure(level: str = "INFO") -> tuple[SecretMask, io.StringIO]:
        mask, stream = SecretMask(), io.StringIO()
        configure_logs(level, mask, stream)
        return mask, stream

    yield configure
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def service_logs(lines: Callable[..., tuple[SecretMask, io.StringIO]]) -> Callable[[str], io.StringIO]:
    return lambda level: lines(level)[1]
