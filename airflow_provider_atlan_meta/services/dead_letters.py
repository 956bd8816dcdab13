"""Dead letters for the command line and the DAG lane, wired to PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from airflow_provider_atlan_meta.clients.postgres import PostgresConfig, PostgresStore
from airflow_provider_atlan_meta.clients.postgres_dead_letters import PostgresDeadLetters
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.dead_letters import (
    LetterGroup,
    LetterQuery,
    RedriveNote,
    ShownLetter,
)
from airflow_provider_atlan_meta.pipeline.redrive import Redrive, Redriven
from airflow_provider_atlan_meta.pipeline.replay import ReplayWriter
from airflow_provider_atlan_meta.services.mappings import derivation


def letter_groups(postgres: ConnectionInfo, query: LetterQuery) -> list[LetterGroup]:
    """:param postgres: role meta_ingest; as meta_reader only the letters of its tenants are seen."""
    with closing(_letters(postgres)) as letters:
        return letters.groups(query)


def shown_letters(postgres: ConnectionInfo, query: LetterQuery) -> tuple[int, list[ShownLetter]]:
    """How many there are, and the newest of them."""
    with closing(_letters(postgres)) as letters:
        return letters.count(query), letters.shown(query)


def redrive_once(
    *,
    postgres: ConnectionInfo,
    query: LetterQuery,
    note: RedriveNote,
    dry_run: bool = False,
    notify: bool = False,
    report: Callable[[Redriven], None] | None = None,
) -> Redriven:
    """Stores what can be stored now; runs beside the live lane, may be repeated and interrupted at any point.

    :param postgres: role meta_ingest. :param notify: subscribers hear of what changes.
    """
    config = PostgresConfig.from_connection(postgres)
    with (
        closing(_letters(postgres)) as letters,
        closing(PostgresStore(config, application_name="atlan-meta redrive")) as store,
    ):
        mapped = derivation(store, config)
        writer = ReplayWriter(store, notify=notify, decode=mapped.derive, refresh=mapped.refresh)
        redrive = Redrive(
            letters=letters, writer=writer, decode=mapped.derive, report=report or (lambda _: None)
        )
        return redrive.run(query, note, dry_run=dry_run)


def _letters(postgres: ConnectionInfo) -> PostgresDeadLetters:
    return PostgresDeadLetters(PostgresConfig.from_connection(postgres), application_name="atlan-meta dlq")
