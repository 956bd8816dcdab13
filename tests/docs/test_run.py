"""What README and docs tell a user to run is run, in the order of the page, on real servers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.core.rows import LogRecord
from airflow_provider_atlan_meta.sandbox.home import HOME_VARIABLE
from airflow_provider_atlan_meta.sandbox.isolation import Database, Isolation, Topics
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox
from airflow_provider_atlan_meta.services.ingest import (
    IngestOutcome,
    IngestRequest,
    LeaseOwner,
    adopt_topic,
    ingest_once,
)
from airflow_provider_atlan_meta.testing.records import produce, webhook_record

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
RUNNABLE = ("README.md", "docs/producer.md", "docs/ingest.md", "docs/sandbox.md", "docs/change-capture.md")
# done, and done but some records were rejected: other tests' dead letters may lie in a kept sandbox's topic
ALLOWED = {"atlan-meta ingest": (0, 3), "atlan-meta replay": (0, 3)}
_NEXT = "--- what follows is of the next block"


@pytest.fixture(scope="module")
def shell(
    sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str, Path], subprocess.CompletedProcess[str]]]:
    """A user's shell. The services that pages start are stopped in the end."""
    before = set(sandbox.running())
    scripts = Path(sys.executable).parent
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environ |= {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        HOME_VARIABLE: str(sandbox.home.path),
        "no_proxy": "127.0.0.1,localhost",
        "COLUMNS": "200",
    }

    def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
        argv = ["bash", "-uo", "pipefail", "-c", script]
        return subprocess.run(
            argv, env=environ, cwd=folder, capture_output=True, text=True, timeout=200, check=False
        )

    yield run
    for name in set(sandbox.running()) - before:
        sandbox.stop(name)


def script_of(blocks: list[Any]) -> str:
    """The runnable blocks as one script: it ends where a command fails; a line of its own parts the blocks."""
    lines = []
    for block in blocks:
        if block.mark.startswith("run"):
            for command in block.commands:
                codes = next((codes for start, codes in ALLOWED.items() if command.startswith(start)), (0,))
                accepted = "".join(f"|| [ $code -eq {code} ] " for code in codes if code)
                lines.append(f"{command}\ncode=$?; [ $code -eq 0 ] {accepted}|| exit $code")
            lines.append(f"echo '{_NEXT}'")
    return "\n".join(lines)


@pytest.mark.parametrize("name", RUNNABLE)
def test_the_commands_of_a_page_run_in_order(
    name: str,
    shell: Callable[[str, Path], subprocess.CompletedProcess[str]],
    blocks: Callable[[Path], list[Any]],
    tmp_path: Path,
) -> None:
    if name == "docs/producer.md" and shutil.which("curl") is None:
        pytest.skip("no curl here")
    page = blocks(ROOT / name)
    for block in page:
        if block.mark.startswith("file: "):
            (tmp_path / block.mark.removeprefix("file: ")).write_text(block.text)

    done = shell(script_of(page), tmp_path)

    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    printed = iter(done.stdout.split(f"{_NEXT}\n"))
    for number, block in enumerate(page):
        if block.mark.startswith("run"):
            output = next(printed)
            if block.mark == "run: prints":
                assert output.strip() == page[number + 1].text.strip(), block.where


def test_pages_with_runnable_commands_are_all_run(
    pages: list[Path], blocks: Callable[[Path], list[Any]]
) -> None:
    marked = {
        str(page.relative_to(ROOT))
        for page in pages
        if any(block.mark.startswith("run") for block in blocks(page))
    }
    assert marked == set(RUNNABLE)


# ---- the SQL of the troubleshooting page


class Store:
    """One topic into one database, and the cures of the page."""

    def __init__(self, isolation: Isolation, page: list[Any]) -> None:
        self.database: Database = isolation.new_database()
        self.topics: Topics = isolation.new_topics(1)
        self._cures = {block.mark: block.text for block in page}

    def produce(self, *records: LogRecord) -> None:
        produce(self.topics.kafka.extra, self.topics.events, records)

    def ingest(self) -> IngestOutcome:
        return ingest_once(
            kafka=self.topics.kafka,
            postgres=self.database.ingest,
            request=IngestRequest(topic=self.topics.events),
            owner=LeaseOwner(id=uuid4(), label="test"),
        )

    def cure(self, name: str, **values: str) -> None:
        """Runs the page's SQL with this topic's name and the values a user puts in."""
        statements = self._cures[f"sql: {name}"].replace("meta.events.v1", self.topics.events)
        for placeholder, value in values.items():
            assert placeholder in statements
            statements = statements.replace(placeholder, value)
        with psycopg.connect(self.database.dsn(self.database.admin), autocommit=True) as connection:
            connection.execute(statements.encode())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database.dsn(self.database.admin), autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    def admin(self) -> Any:
        from confluent_kafka.admin import AdminClient

        return AdminClient(dict(self.topics.kafka.extra))


@pytest.fixture
def store(isolation: Isolation, blocks: Callable[[Path], list[Any]]) -> Store:
    return Store(isolation, blocks(ROOT / "docs" / "troubleshooting.md"))


def test_the_cure_for_a_topic_that_was_created_again_goes_on_with_the_new_one(store: Store) -> None:
    from confluent_kafka.cimpl import NewTopic

    broken = webhook_record("inc-1")._replace(value=b"no event")
    store.produce(*(webhook_record("inc-1", offset=n, alert_feedback="fixed") for n in range(3)), broken)
    store.ingest()
    opened = store.rows("select opened_at from meta.incident")
    admin = store.admin()
    admin.delete_topics([store.topics.events])[store.topics.events].result(30)
    admin.create_topics([NewTopic(store.topics.events, 1, 1)])[store.topics.events].result(30)
    again = webhook_record("inc-1", offset=9, alert_feedback="investigating")
    store.produce(again, webhook_record("inc-2"), webhook_record("inc-2", offset=10), broken)

    with pytest.raises(TerminalError, match="topics adopt"):
        store.ingest()
    adopt_topic(
        kafka=store.topics.kafka, admin=store.database.admin, topic=store.topics.events, dry_run=False
    )
    outcome = store.ingest()

    assert (outcome.records, outcome.rejected, outcome.lag) == (4, 1, 0)
    status = "select status, opened_at from meta.incident where incident_id = 'inc-1'"
    assert store.rows(status) == [("ACKNOWLEDGED", *opened[0])]
    # both bad records stood at the same offset: neither hides the other
    assert store.rows("select count(*) from meta.dead_letter") == [(2,)]


def test_the_cure_for_deleted_records_goes_on_where_the_log_begins(store: Store) -> None:
    from confluent_kafka import TopicPartition

    store.produce(*(webhook_record("inc-1", offset=n) for n in range(3)))
    store.ingest()
    store.produce(*(webhook_record("inc-1", offset=n, owner=f"o{n}") for n in range(3, 6)))
    place = TopicPartition(store.topics.events, 0, 5)
    admin = store.admin()
    admin.delete_records([place])[place].result(30)

    with pytest.raises(TerminalError, match="deleted by retention"):
        store.ingest()
    store.cure("gap", **{"partition = 5": "partition = 0"})
    outcome = store.ingest()

    assert (outcome.records, outcome.lag) == (1, 0)
    assert store.rows("select owner from meta.incident") == [("o5",)]
