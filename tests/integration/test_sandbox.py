"""The sandbox's promises, on real servers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from airflow_provider_atlan_meta.sandbox import airflow, postgres, processes
from airflow_provider_atlan_meta.sandbox.airflow import api_get, login
from airflow_provider_atlan_meta.sandbox.home import is_free, parse_tenants
from airflow_provider_atlan_meta.sandbox.isolation import Database, Topics
from airflow_provider_atlan_meta.sandbox.kafka import REBALANCE_DELAY_VARIABLE
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox
from airflow_provider_atlan_meta.sandbox.registry import SERVERS

pytestmark = pytest.mark.integration

CLI = (sys.executable, "-m", "airflow_provider_atlan_meta.cli", "sandbox")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """A folder for a second sandbox; nothing of it outlives the test."""
    folder = tmp_path / "own"
    yield folder
    Sandbox(folder).down(purge=True)


def _cli(*arguments: str, home: Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*CLI, *arguments, "--home", str(home)], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == expect, done.stderr
    return done


def _wait(condition: Callable[[], bool], seconds: float = 30) -> None:
    assert processes.wait_for(condition, seconds)


def _assert_nothing_left(home: Path) -> None:
    box = Sandbox(home)
    assert [s.name for s in box.status() if s.state != "stopped"] == []
    for name in SERVERS:
        assert processes.family(None, box.home.member(name)) == []
    ports = json.loads((home / "ports.json").read_text())
    assert [name for name, port in ports.items() if not is_free(port)] == []


def test_a_fresh_database_is_migrated_and_each_role_can_log_in(database: Database) -> None:
    for info in (database.admin, database.ingest, database.reader):
        with psycopg.connect(database.dsn(info)) as connection:
            assert connection.execute("select current_user").fetchone() == (info.login,)
            assert connection.execute("select to_regclass('meta.event')").fetchone() != (None,)


def test_the_store_wants_a_password_syncs_and_stamps_commits(sandbox: Sandbox, database: Database) -> None:
    with psycopg.connect(database.dsn(database.reader)) as connection:
        for setting, value in {"fsync": "on", "track_commit_timestamp": "on", "wal_level": "logical"}.items():
            assert connection.execute("select current_setting(%s)", [setting]).fetchone() == (value,)
    wrong = re.sub(r"password=\S+", "password=wrong", database.dsn(database.reader))
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_the_dsn_of_env_reads_schema_meta(sandbox: Sandbox) -> None:
    with psycopg.connect(str(sandbox.fields()["postgres_dsn"])) as connection:
        assert connection.execute("select current_setting('meta.tenants')").fetchone() == (
            "acme,globex,initech",
        )
        assert connection.execute("select count(*) from meta.event").fetchone() is not None


def test_kafka_comes_back_on_its_port_with_its_data_after_kill_9(sandbox: Sandbox, topics: Topics) -> None:
    from confluent_kafka.admin import AdminClient

    before = sandbox.fields()["kafka_bootstrap"]
    sandbox.kill("kafka")
    assert [s.state for s in sandbox.status() if s.name == "kafka"] == ["dead"]
    sandbox.start("kafka")
    assert sandbox.fields()["kafka_bootstrap"] == before
    client = AdminClient({"bootstrap.servers": str(before)})
    assert len(client.list_topics(timeout=10).topics[topics.events].partitions) == 12


def test_postgres_killed_under_a_busy_session_comes_back_with_what_was_committed(
    sandbox: Sandbox, database: Database
) -> None:
    with psycopg.connect(database.dsn(database.admin), autocommit=True) as connection:
        connection.execute("create table if not exists kept (n int)")
        connection.execute("insert into kept values (1)")
        busy = threading.Thread(target=_run_until_cut, args=(database,))
        busy.start()
        query = (
            "select count(*) from pg_stat_activity where query like 'select count(*) from generate_series%'"
        )
        _wait(lambda: connection.execute(query).fetchone() == (1,))
        # the first process only, as the kernel's out-of-memory killer does it
        os.kill(sandbox.pid("postgres"), signal.SIGKILL)
    _wait(lambda: not sandbox.is_running("postgres"))
    sandbox.start("postgres")
    busy.join(30)
    with psycopg.connect(database.dsn(database.admin)) as connection:
        assert connection.execute("select n from kept").fetchone() == (1,)


def _run_until_cut(database: Database) -> None:
    try:
        with psycopg.connect(database.dsn(database.admin)) as connection:
            connection.execute("select count(*) from generate_series(1, 100000000000)")
    except psycopg.OperationalError:
        return


def test_up_again_changes_nothing_that_runs(sandbox: Sandbox) -> None:
    before = {name: sandbox.pid(name) for name in ("postgres", "kafka")}
    sandbox.up(["postgres", "kafka"])
    assert {name: sandbox.pid(name) for name in before} == before


def test_a_stopped_process_can_be_continued(sandbox: Sandbox, recorder_url: str) -> None:
    sandbox.send("recorder", signal.SIGSTOP)
    assert sandbox.is_running("recorder")
    sandbox.send("recorder", signal.SIGCONT)
    sandbox.restart("recorder")
    assert sandbox.fields()["recorder_url"] == recorder_url


def test_every_socket_listens_on_loopback_only(sandbox: Sandbox) -> None:
    if sys.platform != "linux":
        pytest.skip("reads /proc/net/tcp")
    ports = set(json.loads((sandbox.home.path / "ports.json").read_text()).values())
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            address, port = local.split(":")
            if state == "0A" and int(port, 16) in ports:
                found.append(address)
    assert found
    # 127.0.0.1, and the same as IPv6 writes it (what Java opens)
    assert set(found) <= {"0100007F", "0000000000000000FFFF00000100007F"}


def test_status_and_env_are_one_document_each(own: Path) -> None:
    started = time.monotonic()
    shown = _cli("up", "--with", "recorder", "--json", home=own)
    assert [(s["name"], s["state"]) for s in json.loads(shown.stdout)] == [("recorder", "running")]
    status = json.loads(_cli("status", "--json", home=own).stdout)[0]
    assert set(status) == {"name", "state", "pids", "address", "seconds", "rss_mb", "log"}
    assert 0 < status["seconds"] < time.monotonic() - started
    env = json.loads(_cli("env", "--format", "json", home=own).stdout)
    assert set(env) == {"recorder_url", "tenants"}
    assert env["recorder_url"] == status["address"]
    _cli("stop", "recorder", home=own)
    assert "sandbox up" in _cli("env", home=own, expect=2).stderr
    _cli("start", "recorder", home=own)
    assert json.loads(_cli("env", "--format", "json", home=own).stdout) == env
    _cli("down", "--purge", home=own)
    assert not own.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_up_leaves_no_process_and_no_port(own: Path, number: signal.Signals) -> None:
    command = [*CLI, "up", "--with", "postgres,kafka,recorder", "--home", str(own)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as up:
        # in the middle: one server is there, others are on their way
        _wait(lambda: Sandbox(own).is_running("postgres") or up.poll() is not None)
        up.send_signal(number)
        _, said = up.communicate(timeout=60)
    assert up.returncode == 1, said
    assert "nothing this command started is left running" in said
    _assert_nothing_left(own)


def test_a_failed_up_names_server_log_and_cure_and_leaves_nothing(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REBALANCE_DELAY_VARIABLE, "soon")
    said = _cli("up", "--with", "recorder,kafka", home=own, expect=1).stderr
    assert "kafka: " in said
    assert str(own / "logs" / "kafka.log") in said
    assert "cure:" in said
    _assert_nothing_left(own)


def test_members_join_a_running_sandbox_and_new_tenants_reach_it(own: Path) -> None:
    box = Sandbox(own)
    beta = {"id": "beta", "montecarlo_webhook_secret": "s", "atlan_webhook_secret": "t"}
    box.up(["recorder"])
    before = box.pid("recorder")
    box.up(["postgres"], parse_tenants(json.dumps([beta]), "test"))
    assert box.pid("recorder") == before
    assert box.fields()["tenants"] == [beta]
    with psycopg.connect(str(box.fields()["postgres_dsn"])) as connection:
        assert connection.execute("select current_setting('meta.tenants')").fetchone() == ("beta",)


def test_a_stranger_on_a_remembered_port_is_avoided(own: Path) -> None:
    import socket

    box = Sandbox(own)
    box.home.create()
    taken = box.home.port("recorder")
    with socket.create_server(("127.0.0.1", taken)):
        box.up(["recorder"])
        assert box.fields()["recorder_url"] != f"http://127.0.0.1:{taken}"


def test_a_temporary_sandbox_goes_with_the_process_that_used_it(own: Path) -> None:
    script = (
        "import sys, time\n"
        "from airflow_provider_atlan_meta.sandbox.keeper import kept\n"
        "from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox\n"
        "box = Sandbox(sys.argv[1])\n"
        "with kept(box.home):\n"
        "    box.up(['recorder'])\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(own)]) as user:
        _wait(lambda: any(state.seconds for state in Sandbox(own).status()))
        user.kill()
    _wait(lambda: not own.exists())
    assert processes.family(None, Sandbox(own).home.member("recorder")) == []


def test_airflow_shows_our_dags_paused_and_stops_without_a_trace(sandbox: Sandbox) -> None:
    sandbox.up(["airflow"])
    token = login(sandbox.home)
    dags = {dag["dag_id"]: dag for dag in api_get(sandbox.home, "/api/v2/dags", token)["dags"]}
    assert dags["atlan_meta_ingest"]["is_paused"] is True
    assert dags["atlan_meta_ingest"]["bundle_name"] == "atlan-meta"
    assert api_get(sandbox.home, "/api/v2/importErrors", token)["total_entries"] == 0
    family = processes.family(processes.Process(sandbox.pid("airflow"), _mark(sandbox)), "")
    assert len(family) >= 5
    sandbox.stop("airflow")
    assert processes.running(family) == set()
    assert all(is_free(sandbox.home.port(port)) for port in airflow.SERVER.ports)


def _mark(sandbox: Sandbox) -> str:
    record = sandbox.home.record("airflow")
    assert record is not None
    return record.process.mark


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another account")
def test_root_runs_postgres_as_somebody_else_from_binaries_that_one_can_reach(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as where the virtual environment lies in root's home
    monkeypatch.setattr(postgres, "_can_run", lambda _program, _account: False)
    box = Sandbox(own)
    box.up(["postgres", "airflow-db"])
    program = Path(f"/proc/{box.pid('postgres')}/exe").readlink()
    assert program.is_relative_to(box.home.outside)
    assert Path(f"/proc/{box.pid('postgres')}").stat().st_uid == box.home.outside.stat().st_uid != 0
    box.down(purge=True)
    assert not box.home.outside.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user is what runs the other tests")
def test_it_runs_as_an_ordinary_user_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    python = _python_for_everybody()
    if python is None:
        pytest.skip("no interpreter of this version outside root's home")
    folder = Path(f"/var/tmp/atlan-meta-test-{os.getpid()}")
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    paths = [p for p in sys.path if p.endswith("site-packages")]
    (folder / "sitecustomize.py").write_text(f"import site\n[site.addsitedir(p) for p in {paths!r}]\n")
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": str(folder)}
    environ |= {k: v for k, v in os.environ.items() if k.endswith(("_CERT_FILE", "_CA_BUNDLE"))}
    command = [python, "-m", "airflow_provider_atlan_meta.cli", "sandbox"]
    try:
        for arguments in (["up", "--with", "postgres,recorder"], ["down", "--purge"]):
            done = processes.run(
                [*command, *arguments, "--home", str(folder / "box")],
                environ=environ,
                account=processes.Account(name="nobody", uid=65534, gid=65534),
                seconds=120,
            )
            assert done.returncode == 0, done.stdout
        assert not (folder / "box").exists()
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def _python_for_everybody() -> str | None:
    """The system's Python, when it is of this version and can import the project as nobody."""
    name = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    paths = [p for p in sys.path if p.endswith("site-packages")]
    script = f"import site; [site.addsitedir(p) for p in {paths!r}]; import airflow_provider_atlan_meta.sandbox.keeper"
    nobody = processes.Account(name="nobody", uid=65534, gid=65534)
    try:
        done = processes.run([name, "-c", script], environ={"PATH": "/usr/bin:/bin"}, account=nobody)
    except OSError:
        return None
    return name if done.returncode == 0 else None
