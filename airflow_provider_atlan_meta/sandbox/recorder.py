"""The recorder: the SaaS ends our code calls, protocol-true, remembering every call."""

from __future__ import annotations

import base64
import sys

from airflow_provider_atlan_meta.config.connections import MONTECARLO, SLACK, WEBHOOK
from airflow_provider_atlan_meta.sandbox.home import Home
from airflow_provider_atlan_meta.sandbox.processes import Command
from airflow_provider_atlan_meta.sandbox.server import Offer, Server, Site, http_status, missing_modules

NAME = "recorder"
ALERT_CHANNEL = "C0SANDBOX01"
# For subscriptions of type webhook: everything sent here is recorded under /webhook/default.
WEBHOOK_CONNECTION, WEBHOOK_PATH = WEBHOOK, "webhook/default"
_MODULE = "airflow_provider_atlan_meta.testing.recorder"


def _url(home: Home) -> str:
    return f"http://127.0.0.1:{home.port(NAME)}"


def webhook_secret(home: Home) -> str:
    """What the calls of ``WEBHOOK`` are signed with."""
    return "whsec_" + base64.b64encode(home.secret("webhook-signing").encode()).decode()


def _command(site: Site) -> Command:
    argv = (sys.executable, "-m", _MODULE, "--port", str(site.home.port(NAME)))
    return Command(argv=argv, environ=site.environ, folder=site.home.path)


def _offer(home: Home) -> Offer:
    slack = {
        "conn_type": "slack",
        "password": f"xoxb-{home.secret('slack-token')}",
        "extra": {"base_url": f"{_url(home)}/slack/api/"},
    }
    webhook = {
        "conn_type": "http",
        "host": _url(home),
        "password": webhook_secret(home),
        "extra": {"path": WEBHOOK_PATH},
    }
    montecarlo = {
        "conn_type": "atlan_meta_montecarlo",
        "host": f"{_url(home)}/montecarlo",
        "login": "sandbox",
        "password": home.secret("montecarlo-token"),
    }
    return Offer(
        fields={"recorder_url": _url(home)},
        connections={SLACK: slack, WEBHOOK: webhook, MONTECARLO: montecarlo},
        settings={"alert_channel": ALERT_CHANNEL},
    )


SERVER = Server(
    name=NAME,
    summary="stands for Slack, Monte Carlo's API and receivers of webhooks; GET /_recorded lists what was called",
    missing=lambda: missing_modules(_MODULE, "uvicorn", "starlette"),
    ports=(NAME,),
    command=_command,
    ready=lambda site, _pid: http_status(site.home.port(NAME), "/_recorded") == 200,
    address=_url,
    offer=_offer,
)
