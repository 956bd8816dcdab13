"""What the passes share: the running sandbox, one manifest, one body of evidence."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from airflow_provider_atlan_meta.clients.kafka import KafkaConfig
from airflow_provider_atlan_meta.clients.kafka_admin import EndOffsets
from airflow_provider_atlan_meta.config.connections import KAFKA, Connections
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.sandbox.demo.airflow_rest import AirflowRest
from airflow_provider_atlan_meta.sandbox.demo.evidence import SUBSCRIPTIONS, Evidence, Judged
from airflow_provider_atlan_meta.sandbox.demo.lanes import Ledger, wait_until
from airflow_provider_atlan_meta.sandbox.home import Record
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox
from airflow_provider_atlan_meta.sandbox.processes import Command, alive, spawn
from airflow_provider_atlan_meta.sandbox.received_calls import Call, CallLog
from airflow_provider_atlan_meta.sandbox.recorder import webhook_secret
from airflow_provider_atlan_meta.sandbox.registry import SERVERS
from airflow_provider_atlan_meta.sandbox.server import Site, project_command, run_step
from airflow_provider_atlan_meta.sandbox.told_changes import ReadChange, ToldChanges
from airflow_provider_atlan_meta.testing.manifest import SentPost, read_manifest
from airflow_provider_atlan_meta.testing.sender import SendSummary, WebhookSender
from airflow_provider_atlan_meta.testing.webhooks import (
    PlannedPost,
    WebhookTenant,
    plan_stories,
    plan_webhooks,
    woven,
)

MEMBERS = ("postgres", "kafka", "connect", "recorder", "producer", "ingest", "consumer", "airflow")
SERVICES = ("ingest", "consumer")
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
    :param on_post: told of every answered post. ``on_change``, ``on_call``: of what became of it.
    """

    sandbox: Sandbox
    seed: int
    say: Callable[[str], None]
    on_post: Callable[[SentPost], None] = field(default=lambda _: None)
    on_change: Callable[[ReadChange], None] = field(default=lambda _: None)
    on_call: Callable[[Call], None] = field(default=lambda _: None)
    checks: list[Check] = field(default_factory=list)
    work: LaneWork = field(default_factory=LaneWork)
    since: float = field(default_factory=time.time)
    _plans: int = 0

    def __post_init__(self) -> None:
        home = self.sandbox.home
        self.manifest = home.path / f"demo-manifest-{self.seed}.jsonl"
        self.manifest.unlink(missing_ok=True)
        settings = Settings(self.sandbox.environ())
        self.topic, self.changes_topic = settings.topic("events"), settings.topic("changes")
        prefix = settings.text("dag_prefix")
        self.dag, self.propagate_dag = f"{prefix}ingest", f"{prefix}propagate"
        self.fields = self.sandbox.fields()
        self.tenants = [WebhookTenant(t.id, t.montecarlo_webhook_secret) for t in home.tenants]
        self.evidence = Evidence(
            dsn=str(self.fields["postgres_dsn"]),
            tenants=[tenant.id for tenant in self.tenants],
            since=self.since,
            changes=ToldChanges(
                str(self.fields["kafka_bootstrap"]),
                self.changes_topic,
                on_change=lambda change: self.on_change(change),
            ),
            calls=CallLog(str(self.fields["recorder_url"]), on_call=lambda call: self.on_call(call)),
            secret=webhook_secret(home),
        )

    @property
    def dags(self) -> tuple[str, str]:
        """In the order of the way."""
        return self.dag, self.propagate_dag

    @property
    def logs(self) -> Path:
        return self.sandbox.home.log("x").parent

    def airflow(self) -> AirflowRest:
        url, user, password = (str(self.fields[f"airflow_{name}"]) for name in ("url", "user", "password"))
        return AirflowRest(url, user, password)

    def ledger(self, topic: str = "") -> Ledger:
        """Of the events topic, or another."""
        return Ledger(str(self.fields["postgres_dsn"]), topic or self.topic)

    def log_end(self) -> int:
        """Records in the events topic."""
        config = KafkaConfig.from_connection(Connections(environ=self.sandbox.variables()).get(KAFKA))
        return sum(EndOffsets(config, self.topic).read().values())

    # ---- what is sent ----

    def plan(self, count: int, *, flawless: bool = False) -> list[PlannedPost]:
        """Webhooks about incidents that no channel hears of.

        :param flawless: nothing malformed or wrongly signed: a backlog for the lanes, not a test of the door.
        """
        share = 0.0 if flawless else 0.02
        return plan_webhooks(
            seed=self._next_seed(),
            count=count,
            tenants=self.tenants,
            malformed=share,
            unauthorized=share,
        )

    def stories(self, count: int, *, steps: int) -> list[list[PlannedPost]]:
        """``count`` incidents for Slack, one channel after the other, each changed ``steps`` times."""
        return plan_stories(
            seed=self._next_seed(),
            count=count,
            tenants=self.tenants,
            kinds=self.evidence.slack_types,
            steps=steps,
        )

    def mixed_plan(
        self, count: int, *, rate: float, seconds_apart: float, steps: int = 1
    ) -> list[PlannedPost]:
        """``count`` webhooks in all, among them a new incident for Slack every ``seconds_apart`` at this rate."""
        every = max(1, round(rate * seconds_apart))
        stories = self.stories(count // every, steps=steps)
        return woven(self.plan(count - sum(map(len, stories))), stories, every=every)

    def send(self, run: str, plan: Sequence[PlannedPost], *, rate: float | None) -> SendSummary:
        """Posts a plan to the producer."""
        url = str(self.fields["producer_url"])
        sender = WebhookSender(
            url=url, manifest=self.manifest, run=run, on_post=lambda post: self.on_post(post)
        )
        return sender.send(plan, rate=rate)

    def _next_seed(self) -> int:
        self._plans += 1
        return self.seed * 1000 + self._plans

    # ---- what has become of it ----

    def await_stored(self, seconds: float) -> bool:
        """Whether the ledger reached the end of the log in time."""
        end = self.log_end()
        ledger = self.ledger()
        try:
            return wait_until(lambda: ledger.total() >= end, seconds)
        finally:
            ledger.close()

    def await_delivered(self, seconds: float) -> bool:
        """Whether all that is stored reached the topic and everybody who asked for it, in time."""
        deadline = time.monotonic() + seconds
        return wait_until(self.evidence.is_told, seconds) and wait_until(
            self.evidence.is_delivered, max(1.0, deadline - time.monotonic()), every=1.0
        )

    def verdict(self) -> Judged:
        """The oracles', on everything sent so far."""
        return self.evidence.judge(read_manifest(self.manifest))

    def check(self, name: str, ok: bool, seen: str) -> None:
        self.checks.append(Check(name, ok, seen))
        self.say(f"{'[green]ok[/]  ' if ok else '[red]FAIL[/]'} {name}: {seen}")

    # ---- who works ----

    def limit_slack(self, enforced: bool) -> None:
        """Whether Slack's own rate limits count."""
        url, body = f"{self.fields['recorder_url']}/_limits", {"service": "slack", "enforced": enforced}
        httpx.post(url, json=body, trust_env=False).raise_for_status()

    def stop_services(self) -> None:
        for name in SERVICES:
            self.sandbox.stop(name)

    def start_service(self, name: str, *, max_partitions: int) -> None:
        """A service with a setting of its own; ``sandbox stop`` ends it like any other.

        :raises TerminalError: it did not become ready.
        """
        home = self.sandbox.home
        environ = self.sandbox.environ() | {"AIRFLOW__ATLAN_META__MAX_PARTITIONS": str(max_partitions)}
        command = Command(argv=project_command("serve", name), environ=environ, folder=home.path)
        process = spawn(command, log=home.log(name), member=home.member(name))
        home.set_record(name, Record(process))
        site = Site(home, environ, lambda _: None)
        server = SERVERS[name]
        wait_until(lambda: server.ready(site, process.pid) or not alive(process), _READY_SECONDS)
        if not server.ready(site, process.pid):
            raise TerminalError(f"the {name} service did not become ready; see {home.log(name)}")

    def subscribe(self) -> None:
        """Applies the demo's file as anybody would."""
        site = Site(self.sandbox.home, self.sandbox.environ(), lambda _: None)
        argv = project_command("subscription", "apply", "-f", str(SUBSCRIPTIONS))
        run_step(site, argv, what="atlan-meta subscription apply", name="consumer")


def start_stage(sandbox: Sandbox, *, seed: int, say: Callable[[str], None]) -> Stage:
    """Everything up, the DAGs paused, the subscriptions in force, everything listened to."""
    sandbox.up(MEMBERS)
    stage = Stage(sandbox=sandbox, seed=seed, say=say)
    stage.subscribe()
    stage.limit_slack(True)
    stage.evidence.listen()
    with stage.airflow() as rest:
        for dag in stage.dags:
            rest.await_dag(dag)
            rest.set_paused(dag, True)
    return stage


def describe(answers: Mapping[str, int]) -> str:
    return json.dumps(dict(sorted(answers.items())))
