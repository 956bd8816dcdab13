"""The plan of webhooks: repeatable, signed as documented, with everything in it that breaks careless code."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import pytest

from airflow_provider_atlan_meta.sandbox.expected_rows import Webhook, expected_incident
from airflow_provider_atlan_meta.testing.webhook_bodies import TRIGGERS
from airflow_provider_atlan_meta.testing.webhooks import (
    SIGNATURE_HEADER,
    PlannedPost,
    WebhookTenant,
    plan_stories,
    plan_webhooks,
    sign,
    woven,
)

VECTORS = json.loads(
    (Path(__file__).parents[2] / "fixtures" / "montecarlo" / "signature_vectors.json").read_text()
)
TENANTS = [
    WebhookTenant("acme", "first"),
    WebhookTenant("globex", "second"),
    WebhookTenant("initech", "third"),
]


@pytest.fixture(scope="module")
def plan() -> list[PlannedPost]:
    return plan_webhooks(seed=7, count=340, tenants=TENANTS)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_signature_is_the_one_monte_carlo_documents(vector: dict[str, str]) -> None:
    assert sign(vector["secret"], vector["raw_body"].encode()) == vector[SIGNATURE_HEADER]


def test_the_same_seed_gives_the_same_plan_and_another_seed_another(plan: list[PlannedPost]) -> None:
    assert plan_webhooks(seed=7, count=340, tenants=TENANTS) == plan
    assert plan_webhooks(seed=8, count=340, tenants=TENANTS) != plan


def test_the_plan_has_the_length_and_the_shares_asked_for(plan: list[PlannedPost]) -> None:
    assert len(plan) == 340
    assert sum(post.expected_status == 400 for post in plan) == 7
    assert sum(post.expected_status == 401 for post in plan) == 7
    in_a_row = sum(
        before.subject is not None and json.loads(before.body) == json.loads(after.body)
        for before, after in itertools.pairwise(plan)
        if after.expected_status == before.expected_status == 202
    )
    assert in_a_row >= 34


def test_every_trigger_occurs_for_every_tenant(plan: list[PlannedPost]) -> None:
    assert len(TRIGGERS) == 8
    for tenant in TENANTS:
        assert set(TRIGGERS) <= {post.kind for post in plan if post.tenant == tenant.id}


def test_something_is_said_again_after_something_else(plan: list[PlannedPost]) -> None:
    said: dict[str, list[object]] = {}
    for post in plan:
        if post.subject is not None:
            said.setdefault(post.subject, []).append(json.loads(post.body))
    assert sum(
        first == third != second
        for bodies in said.values()
        for first, second, third in zip(bodies, bodies[1:], bodies[2:], strict=False)
    )


def test_update_fields_sit_in_both_known_places(plan: list[PlannedPost]) -> None:
    places: Counter[str] = Counter()
    for post in plan:
        if post.expected_status == 202:
            body = json.loads(post.body)
            places["top"] += "alert_feedback" in body
            places["payload"] += "alert_feedback" in body["payload"]
    assert places["top"]
    assert places["payload"]


def test_types_that_nobody_has_seen_yet_and_events_without_an_incident_occur(plan: list[PlannedPost]) -> None:
    bodies = [json.loads(post.body) for post in plan if post.expected_status == 202]
    assert {"open_anomaly_incident", "open_custom_rule_anomaly_incident"} < {body["type"] for body in bodies}
    assert any("incident_id" not in body["payload"] for body in bodies)


def test_what_should_be_accepted_is_rightly_signed_and_the_rest_is_not(plan: list[PlannedPost]) -> None:
    secrets = {tenant.id: tenant.secret for tenant in TENANTS}
    for post in plan:
        if post.expected_status == 202:
            assert post.signature == sign(secrets[post.tenant], post.body)
        if post.expected_status == 401:
            assert post.signature != sign(secrets[post.tenant], post.body)
    assert any(SIGNATURE_HEADER not in post.headers for post in plan if post.expected_status == 401)


def test_malformed_bodies_are_of_several_kinds(plan: list[PlannedPost]) -> None:
    assert len({post.kind for post in plan if post.expected_status == 400}) == 5


def test_a_duplicate_may_be_written_differently(plan: list[PlannedPost]) -> None:
    pairs = itertools.pairwise(plan)
    assert any(
        before.expected_status == after.expected_status == 202
        and before.body != after.body
        and json.loads(before.body) == json.loads(after.body)
        for before, after in pairs
    )


def test_stories_are_incidents_of_the_types_asked_for_and_every_step_changes_them() -> None:
    stories = plan_stories(seed=1, count=4, tenants=TENANTS, kinds=("a", "b"), steps=6)
    assert [json.loads(story[0].body)["type"] for story in stories] == ["a", "b", "a", "b"]
    for story in stories:
        assert len({post.subject for post in story}) == 1
        webhooks = [Webhook(post.tenant, post.body, n) for n, post in enumerate(story)]
        assert expected_incident(webhooks).causes == [0, 1, 2, 3, 4, 5, 6]
    (created,) = plan_stories(seed=1, count=1, tenants=TENANTS, kinds=("a",), steps=0)
    assert [post.kind for post in created] == ["created"]


def test_a_story_begins_at_every_so_many_posts_and_keeps_its_order(plan: list[PlannedPost]) -> None:
    stories = plan_stories(seed=1, count=5, tenants=TENANTS, kinds=("a",), steps=2)
    mixed = woven(plan, stories, every=40)
    assert len(mixed) == len(plan) + 15
    assert [post for post in mixed if post in plan] == plan
    for number, story in enumerate(stories):
        places = [mixed.index(post) for post in story]
        assert places == [pytest.approx((number + step) * 40, abs=2) for step in range(3)]


def test_stories_longer_than_the_plan_end_behind_it() -> None:
    stories = plan_stories(seed=1, count=2, tenants=TENANTS, kinds=("a",), steps=1)
    assert woven([], stories, every=40) == [stories[0][0], stories[0][1], stories[1][0], stories[1][1]]
