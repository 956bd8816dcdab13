"""Monte Carlo's API as the recorder answers for it, in the tests' own process."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
from starlette.testclient import TestClient

from airflow_provider_atlan_meta.testing.recorder import build_app

GRAPHQL = "/montecarlo/graphql"


def alert_id(number: int) -> str:
    return str(UUID(int=number))


class MonteCarloRecorder:
    """The recorder behind a transport that is none."""

    def __init__(self) -> None:
        self.app = build_app()
        self.client = TestClient(self.app, follow_redirects=False)
        self.before_answer: list[Any] = []

    def set(self, *alerts: dict[str, Any]) -> None:
        assert self.client.post("/_montecarlo/alerts", json=list(alerts)).status_code == 201

    def put_large(self, alert: str, updated: datetime) -> None:
        """An alert of 2 MiB: more than the recorder takes over HTTP."""
        recorder = self.app.state.recorder
        recorder.montecarlo.put([{"id": alert, "title": "x" * (2 << 20), "updatedTime": updated.isoformat()}])

    def script(self, **script: Any) -> None:
        answer = self.client.post("/_script", json={"service": "montecarlo", **script})
        assert answer.status_code == 201

    def calls(self, path: str = GRAPHQL) -> list[dict[str, Any]]:
        return [
            call for call in self.client.get("/_recorded?service=montecarlo").json() if call["path"] == path
        ]

    def transport(self) -> httpx.MockTransport:
        def answer(request: httpx.Request) -> httpx.Response:
            got = self.client.request(
                request.method, request.url.path, content=request.content, headers=dict(request.headers)
            )
            for change in self.before_answer:
                change()
            return httpx.Response(got.status_code, headers=dict(got.headers), content=got.content)

        return httpx.MockTransport(answer)
