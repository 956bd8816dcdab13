"""A scripted load of signed Monte Carlo webhooks: same seed, same plan, byte for byte.

Signing follows Monte Carlo's documented algorithm and shares no code with the producer that verifies it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from urllib.parse import urlencode

from airflow_provider_atlan_meta.testing.webhook_bodies import (
    TRIGGERS,
    MonteCarloIncident,
    random_uuid,
    written,
)

SIGNATURE_HEADER = "x-mcd-signature"


@dataclass(frozen=True)
class WebhookTenant:
    """A tenant and the secret its webhooks are signed with."""

    id: str
    secret: str


@dataclass(frozen=True, kw_only=True)
class PlannedPost:
    """One request of a plan.

    :param kind: one of :data:`TRIGGERS`, "no_incident", "malformed: ..." or "unauthorized: ...".
    :param subject: the incident it speaks of; posts of one subject must be sent one after the other, because
        the order in the log is the truth. None: nothing may come of it.
    :param expected_status: what the producer has to answer.
    """

    tenant: str
    kind: str
    subject: str | None
    body: bytes
    signature: str | None
    expected_status: int = 202

    @property
    def headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json"}
        if self.signature is not None:
            headers[SIGNATURE_HEADER] = self.signature
        return headers


def sign(secret: str, body: bytes) -> str:
    """The ``x-mcd-signature`` of a body: HMAC-SHA512 over the form encoding of its parsed JSON."""
    message = urlencode(json.loads(body)).encode("utf8")
    return hmac.new(secret.encode(), message, hashlib.sha512).hexdigest()


def plan_webhooks(
    *,
    seed: int,
    count: int,
    tenants: Sequence[WebhookTenant],
    duplicates: float = 0.10,
    malformed: float = 0.02,
    unauthorized: float = 0.02,
) -> list[PlannedPost]:
    """``count`` posts; the shares are rounded up.

    From about 60 on all 8 triggers occur for each of 3 tenants, with A-B-A sequences (a body said again after
    another one: three events), both placements of update fields and types nobody has seen yet.

    :param duplicates: share that is the post before it once more, byte for byte or as the same JSON
        written differently.
    """
    rng = Random(seed)  # noqa: S311 - a plan has to be repeatable, not secret
    doubled, broken, forged = (math.ceil(count * share) for share in (duplicates, malformed, unauthorized))
    good = _interleaved(rng, tenants, count - doubled - broken - forged)
    plan = _with_duplicates(rng, good, doubled, {tenant.id: tenant.secret for tenant in tenants})
    for index in range(broken):
        _insert(rng, plan, _malformed(rng, tenants[index % len(tenants)], index))
    for index in range(forged):
        _insert(rng, plan, _unauthorized(rng, tenants, index))
    return plan


# What happens to an incident that many look at: every step changes it.
_STEPS = ("acknowledged", "marked_as_incident", "owner_changed", "unmarked", "marked_as_incident", "resolved")


def plan_stories(
    *, seed: int, count: int, tenants: Sequence[WebhookTenant], kinds: Sequence[str], steps: int
) -> list[list[PlannedPost]]:
    """``count`` incidents of these types in turn, each created and then changed ``steps`` (0 to 6) times."""
    rng = Random(seed)  # noqa: S311 - a plan has to be repeatable, not secret
    triggers = ("created", *_STEPS[len(_STEPS) - steps :])
    return [
        _posts(rng, tenants[n % len(tenants)], MonteCarloIncident(rng, kinds[n % len(kinds)]), triggers)
        for n in range(count)
    ]


def woven(
    plan: Sequence[PlannedPost], stories: Sequence[Sequence[PlannedPost]], *, every: int
) -> list[PlannedPost]:
    """``plan`` with a story that begins at every ``every``-th post; its later posts follow as far apart."""
    waiting = sorted(
        [
            ((number + step) * every, number, post)
            for number, story in enumerate(stories)
            for step, post in enumerate(story)
        ],
        key=lambda entry: entry[:2],
        reverse=True,
    )
    found: list[PlannedPost] = []
    for post in plan:
        while waiting and waiting[-1][0] <= len(found):
            found.append(waiting.pop()[2])
        found.append(post)
    return found + [post for _, _, post in reversed(waiting)]


def _posts(
    rng: Random, tenant: WebhookTenant, incident: MonteCarloIncident, triggers: Sequence[str]
) -> list[PlannedPost]:
    writing = {"compact": rng.random() < 0.5, "ascii_only": rng.random() < 0.5}
    posts = []
    for trigger in triggers:
        body = written(incident.told(trigger), **writing)
        posts.append(
            PlannedPost(
                tenant=tenant.id,
                kind=trigger,
                subject=incident.id,
                body=body,
                signature=sign(tenant.secret, body),
            )
        )
    return posts


def _insert(rng: Random, plan: list[PlannedPost], post: PlannedPost) -> None:
    """Anywhere but between a post and its duplicate: those are sent in a row."""
    place = rng.randrange(len(plan) + 1)
    while (
        0 < place < len(plan)
        and plan[place].kind == plan[place - 1].kind
        and plan[place].subject == plan[place - 1].subject
    ):
        place += 1
    plan.insert(place, post)


def _interleaved(rng: Random, tenants: Sequence[WebhookTenant], count: int) -> list[PlannedPost]:
    """``count`` valid posts of many incidents, each incident's in its own order."""
    stories: list[list[PlannedPost]] = []
    left = count
    while left > 0:
        tenant = tenants[len(stories) % len(tenants)]
        story = list(_no_incident(rng, tenant) if rng.random() < 0.04 else _story(rng, tenant, len(stories)))[
            :left
        ]
        stories.append(story)
        left -= len(story)
    plan = []
    while stories:
        # a handful of incidents is open at a time
        story = stories[rng.randrange(min(8, len(stories)))]
        plan.append(story.pop(0))
        if not story:
            stories.remove(story)
    return plan


def _with_duplicates(
    rng: Random, good: list[PlannedPost], doubled: int, secrets: Mapping[str, str]
) -> list[PlannedPost]:
    chosen = set(rng.sample(range(len(good)), min(doubled, len(good))))
    plan = []
    for index, post in enumerate(good):
        plan.append(post)
        if index in chosen:
            plan.append(post if rng.random() < 0.6 else _rewritten(post, secrets[post.tenant]))
    return plan


def _rewritten(post: PlannedPost, secret: str) -> PlannedPost:
    """The same JSON with its keys the other way round and other white space: the same event, said again."""
    body = written(dict(reversed(json.loads(post.body).items())), compact=True, ascii_only=False)
    return replace(post, body=body, signature=sign(secret, body))


def _story(rng: Random, tenant: WebhookTenant, number: int) -> Iterator[PlannedPost]:
    """One incident's life; the first ones go through all triggers and say one thing again after another."""
    incident = MonteCarloIncident(rng)
    triggers = list(TRIGGERS) if number < 6 or rng.random() < 0.3 else _short_life(rng)
    posts = _posts(rng, tenant, incident, triggers)
    if len(posts) >= 3 and (number < 6 or rng.random() < 0.3):
        place = rng.randrange(2, len(posts))
        posts.insert(place, posts[place - 2])
    yield from posts


def _short_life(rng: Random) -> list[str]:
    later = [trigger for trigger in TRIGGERS[1:] if rng.random() < 0.4]
    rng.shuffle(later)
    return ["created", *later]


def _no_incident(rng: Random, tenant: WebhookTenant) -> list[PlannedPost]:
    """An event about no incident: stored, nothing else."""
    document = {
        "account": {"id": random_uuid(rng)},
        "action": "notice",
        "type": "audience_digest",
        "payload": {"n": rng.random()},
    }
    body = written(document, compact=False, ascii_only=True)
    return [
        PlannedPost(
            tenant=tenant.id,
            kind="no_incident",
            subject=f"no incident {document['account']['id']}",  # type: ignore[index]
            body=body,
            signature=sign(tenant.secret, body),
        )
    ]


def _malformed(rng: Random, tenant: WebhookTenant, index: int) -> PlannedPost:
    """Refused with 400, whatever its signature says."""
    document = MonteCarloIncident(rng).told("created")
    whole = written(document, compact=False, ascii_only=True)
    too_long = written(
        document | {"payload": document["payload"] | {"incident_id": "x" * 600}},
        compact=True,
        ascii_only=True,
    )
    deep = b'{"account":{"id":"a"},"payload":' + b"[" * 500 + b"]" * 500 + b"}"
    kind, body, signature = (
        ("truncated", whole[: len(whole) // 2], sign(tenant.secret, whole)),
        ("no object", b"[]", sign(tenant.secret, b"[]")),
        ("incident_id too long", too_long, sign(tenant.secret, too_long)),
        ("not UTF-8", whole.replace(b"incident", b"incid\xff\xfent", 1), sign(tenant.secret, whole)),
        ("nested too deep", deep, sign(tenant.secret, deep)),
    )[index % 5]
    return PlannedPost(
        tenant=tenant.id,
        kind=f"malformed: {kind}",
        subject=None,
        body=body,
        signature=signature,
        expected_status=400,
    )


def _unauthorized(rng: Random, tenants: Sequence[WebhookTenant], index: int) -> PlannedPost:
    """Refused with 401: a body that would change something if it were believed."""
    tenant, other = tenants[index % len(tenants)], tenants[(index + 1) % len(tenants)]
    body = written(MonteCarloIncident(rng).told("created"), compact=False, ascii_only=True)
    raw = hmac.new(tenant.secret.encode(), body, hashlib.sha512).hexdigest()
    kind, signature = (
        ("unsigned", None),
        ("wrong secret", sign("not the secret", body)),
        ("signed over the raw bytes", raw),
        ("another tenant's secret", sign(other.secret if len(tenants) > 1 else "other", body)),
    )[index % 4]
    return PlannedPost(
        tenant=tenant.id,
        kind=f"unauthorized: {kind}",
        subject=None,
        body=body,
        signature=signature,
        expected_status=401,
    )
