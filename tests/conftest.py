"""One sandbox per test session, started when the first test asks for it.

``ATLAN_META_SANDBOX_HOME=DIR`` uses (and keeps) the sandbox in that folder instead of a temporary one.
Tests take a database and topics of their own, so they meet nobody else's rows.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from airflow_provider_atlan_meta.sandbox.home import HOME_VARIABLE
from airflow_provider_atlan_meta.sandbox.isolation import Database, Isolation, Topics
from airflow_provider_atlan_meta.sandbox.keeper import kept
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox

# `HYPOTHESIS_PROFILE=thorough make unit` looks ten times as far
settings.register_profile("quick", max_examples=30, deadline=None)
settings.register_profile("thorough", max_examples=300, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# Modules and tests stay until the end: looking through them for garbage is a tenth of a run's time.
gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """postgres and kafka, running. ``sandbox.up(["recorder"])`` adds members for the rest of the session."""
    running = os.environ.get(HOME_VARIABLE)
    box = Sandbox(running or tmp_path_factory.mktemp("sandbox") / "home")
    with contextlib.nullcontext() if running else kept(box.home):
        box.up(["postgres", "kafka"])
        yield box


@pytest.fixture(scope="session")
def isolation(sandbox: Sandbox) -> Iterator[Isolation]:
    """``isolation.new_database()``, ``isolation.new_topics()``: for tests that need more than one."""
    with Isolation(sandbox, keep=HOME_VARIABLE not in os.environ) as made:
        yield made


@pytest.fixture(scope="module")
def database(isolation: Isolation) -> Database:
    """A fresh, migrated database per test module."""
    return isolation.new_database()


@pytest.fixture(scope="module")
def topics(isolation: Isolation) -> Topics:
    """Fresh topics per test module, 12 partitions each."""
    return isolation.new_topics()


@pytest.fixture(scope="session")
def recorder_url(sandbox: Sandbox) -> str:
    """The recorder, running; what it recorded stays until a test deletes it."""
    sandbox.up(["recorder"])
    return str(sandbox.fields()["recorder_url"])
