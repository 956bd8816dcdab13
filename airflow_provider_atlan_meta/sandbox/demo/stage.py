"""What the passes share: the running sandbox, one manifest, one oracle."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from airflow_provider_atlan_meta.clients.kafka import KafkaConfig
from airflow_provider_atlan_meta.clients.kafka_admin import EndOffsets
from airflow_provider_atlan_meta.config.connections import KAFKA, POSTGRES_ADMIN, Connections
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.sandbox.demo.airflow_rest import AirflowRest
from airflow_provider_atlan_meta.sandbox.demo.lanes import Ledger, wait_until
from airflow_provider_atlan_meta.sandbox.home import Record
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox
from airflow_provider_atlan_meta.sandbox.oracle import Verdict, judge
from airflow_provider_atlan_meta.sandbox.processes import Command, alive, spawn
from airflow_provider_atlan_meta.sandbox.registry import SERVERS
from airflow_provider_atlan_meta.sandbox.server import Site, project_command
from airflow_provider_atlan_meta.sandbox.stored_rows import ChangeLog, read_stored
from airflow_provider_atlan_meta.testing.manifest import SentPost, read_manifest
from airflow_provider_atlan_meta.testing.sender import SendSummary, WebhookSender
from airflow_provider_atlan_meta.testing.webhooks import WebhookTenant, plan_webhooks

MEMBERS = ("postgres", "kafka", "recorder", "producer", "ingest", "airflow")
_SLOT = "atlan_meta_demo"
_READY_SECONDS = 60.0


@dataclass(frozen=True)
class Check:
    """One thing that has to hold, and what was seen."""

    name: str
    ok: bool
    seen: str


@dataclass
class LaneWork:
    """What the DAG lane and the service lane did in all passes."""

    service_events: int = 0
    dag_events: int = 0
    dag_runs: int = 0
    dag_retries: int = 0


@dataclass
class Stage:
    """:param seed: of the plans; another one than any earlier run's on the same store.
    :param say: takes a line for people.
    :param on_post: told of every answered post.
    """

    sandbox: Sandbox
    seed: int
    say: Callable[[str], None]
    on_post: Callable[[SentPost], None] = field(default=lambda _: None)
    checks: list[Check] = field(default_factory=list)
    work: LaneWork = field(default_factory=LaneWork)
    since: float = field(default_factory=time.time)
    _plans: int = 0

    def __post_init__(self) -> None:
        self.manifest = self.sandbox.home.path / f"demo-manifest-{self.seed}.jsonl"
        self.manifest.unlink(missing_ok=True)
        settings = Settings(self.sandbox.environ())
        self.topic = settings.topic("events")
        self.dag = f"{settings.text('dag_prefix')}ingest"
        self.fields = self.sandbox.fields()
        self.tenants = [WebhookTenant(t.id, t.montecarlo_webhook_secret) for t in self.sandbox.home.tenants]
        self.changes = ChangeLog(self._admin_dsn(), _SLOT)

    def _admin_dsn(self) -> str:
        info = Connections(environ=self.sandbox.variables()).get(POSTGRES_ADMIN)
        where = f"host={info.host} port={info.port} dbname={info.schema}"
        return f"{where} user={info.login} password={info.password}"

    @property
    def logs(self) -> Path:
        return self.sandbox.home.log("x").parent

    def airflow(self) -> AirflowRest:
        url, user, password = (str(self.fields[f"airflow_{name}"]) for name in ("url", "user", "password"))
        return AirflowRest(url, user, password)

    def ledger(self) -> Ledger:
        return Ledger(str(self.fields["postgres_dsn"]), self.topic)

    def log_end(self) -> int:
        """Records in the topic."""
        config = KafkaConfig.from_connection(Connections(environ=self.sandbox.variables()).get(KAFKA))
        return sum(EndOffsets(config, self.topic).read().values())

    def send(self, run: str, count: int, *, rate: float | None, flawless: bool = False) -> SendSummary:
        """Posts a new plan to the producer.

        :param flawless: nothing malformed or wrongly signed: a backlog for the lanes, not a test of the door.
        """
        self._plans += 1
        share = 0.0 if flawless else 0.02
        plan = plan_webhooks(
            seed=self.seed * 1000 + self._plans,
            count=count,
            tenants=self.tenants,
            malformed=share,
            unauthorized=share,
        )
        url = str(self.fields["producer_url"])
        sender = WebhookSender(url=url, manifest=self.manifest, run=run, on_post=self.on_post)
        return sender.send(plan, rate=rate)

    def await_stored(self, seconds: float) -> bool:
        """Whether the ledger reached the end of the log in time."""
        end = self.log_end()
        ledger = self.ledger()
        try:
            return wait_until(lambda: ledger.total() >= end, seconds)
        finally:
            ledger.close()

    def verdict(self) -> Verdict:
        """The oracle's, on everything sent so far."""
        tenants = [tenant.id for tenant in self.tenants]
        stored = read_stored(
            str(self.fields["postgres_dsn"]), tenants, since=self.since, messages=self.changes.read()
        )
        return judge(read_manifest(self.manifest), stored)

    def close(self) -> None:
        """Lets go of the change log; a slot that nobody reads would keep the store's log for ever."""
        with suppress(psycopg.OperationalError):
            self.changes.drop()

    def check(self, name: str, ok: bool, seen: str) -> None:
        self.checks.append(Check(name, ok, seen))
        self.say(f"{'[green]ok[/]  ' if ok else '[red]FAIL[/]'} {name}: {seen}")

    def start_ingest(self, *, max_partitions: int) -> None:
        """The ingest service with a setting of its own; ``sandbox stop ingest`` ends it like any other.

        :raises TerminalError: it did not become ready.
        """
        home = self.sandbox.home
        environ = self.sandbox.environ() | {"AIRFLOW__ATLAN_META__MAX_PARTITIONS": str(max_partitions)}
        command = Command(argv=project_command("serve", "ingest"), environ=environ, folder=home.path)
        process = spawn(command, log=home.log("ingest"), member=home.member("ingest"))
        home.set_record("ingest", Record(process))
        site = Site(home, environ, lambda _: None)
        server = SERVERS["ingest"]
        wait_until(lambda: server.ready(site, process.pid) or not alive(process), _READY_SECONDS)
        if not server.ready(site, process.pid):
            raise TerminalError(f"the ingest service did not become ready; see {home.log('ingest')}")


def start_stage(sandbox: Sandbox, *, seed: int, say: Callable[[str], None]) -> Stage:
    """Everything up, the DAG paused, the change log listened to."""
    sandbox.up(MEMBERS)
    stage = Stage(sandbox=sandbox, seed=seed, say=say)
    stage.changes.listen()
    with stage.airflow() as rest:
        rest.await_dag(stage.dag)
        rest.set_paused(stage.dag, True)
    return stage


def describe(answers: Mapping[str, int]) -> str:
    return json.dumps(dict(sorted(answers.items())))
