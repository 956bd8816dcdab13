"""The fakes' own examples run as they stand in the docstrings."""

from __future__ import annotations

import textwrap
from types import ModuleType
from uuid import uuid4

import pytest

from airflow_provider_atlan_meta.core.ports import LeaseOwner
from airflow_provider_atlan_meta.pipeline.ingest import DrainLimits
from airflow_provider_atlan_meta.testing import memory, memory_ledger, memory_log, memory_store
from airflow_provider_atlan_meta.testing.records import webhook_record


@pytest.mark.parametrize(
    "module", [memory, memory_log, memory_ledger, memory_store], ids=lambda module: module.__name__
)
def test_the_example_of_the_docstring_runs(module: ModuleType) -> None:
    lines = [line for line in (module.__doc__ or "").splitlines() if line.startswith("    ")]
    names = {name: getattr(memory, name) for name in memory.__all__}
    names |= {
        "DrainLimits": DrainLimits,
        "LeaseOwner": LeaseOwner,
        "webhook_record": webhook_record,
        "uuid4": uuid4,
    }

    assert len(lines) >= 3
    exec(textwrap.dedent("\n".join(lines)), {**names, "clock": memory.ManualClock()})


def test_published_webhooks_are_received_one_after_the_other() -> None:
    lane = memory.MemoryLane()

    assert [lane.publish(0, "inc-1"), lane.publish(0, "inc-1"), lane.publish(0, None)] == [0, 1, 2]
    lane.ingest().drain(DrainLimits())

    keys = list(lane.database.tables.events)
    assert keys == sorted(set(keys))
    assert len(keys) == 3
