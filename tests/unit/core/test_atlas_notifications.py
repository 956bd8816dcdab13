"""ATLAS_ENTITIES as events: however Atlas packed, cut and dated a notification, it is one event."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_atlan_meta.core import atlas_notifications
from airflow_provider_atlan_meta.core.atlas_notifications import (
    MAX_MESSAGE_BYTES,
    Abandoned,
    SplitMessages,
    read_notification,
)
from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.events import MetadataEvent, decode_event, encode_event

FIXTURES = Path(__file__).parents[2] / "fixtures" / "atlas"
NOTIFICATIONS = sorted(FIXTURES.glob("entities_*.json"))
CREATE = (FIXTURES / "entities_entity_create.json").read_bytes()


def read(value: bytes, split: SplitMessages | None = None, *, at: int = 0, now: int = 0) -> Any:
    return read_notification(value, split or SplitMessages(), tenant="acme", position=at, now_ms=now)


def zipped(value: bytes) -> str:
    return base64.b64encode(gzip.compress(value)).decode()


def cut(text: str, count: int, *, name: str = "m1", kind: str = "GZIP") -> list[bytes]:
    size = -(-len(text) // count)
    return [
        json.dumps(
            {
                "version": {"version": "1.0.0", "versionParts": [1]},
                "msgId": name,
                "msgCompressionKind": kind,
                "msgSplitIdx": index,
                "msgSplitCount": count,
                "message": text[index * size : (index + 1) * size],
            }
        ).encode()
        for index in range(count)
    ]


@pytest.mark.parametrize("file", NOTIFICATIONS, ids=lambda file: file.stem)
def test_a_notification_is_an_event_with_its_message_untouched(file: Path) -> None:
    said = json.loads(file.read_bytes())["message"]
    event = read(file.read_bytes())
    assert json.loads(bytes(event.data)) == said
    assert (event.source, event.type, event.tenant) == ("atlas", said["operationType"], "acme")
    thing = said.get("entity") or said["relationship"]
    assert event.subject == thing.get("attributes", {}).get("qualifiedName", thing["guid"])
    assert event.time.startswith("2026-11-22T23:58:02.09")
    assert decode_event(encode_event(event)).id == event.id


def test_every_operation_on_an_entity_has_an_id_of_its_own() -> None:
    assert len({read(file.read_bytes()).id for file in NOTIFICATIONS}) == len(NOTIFICATIONS) == 6


def test_the_same_notification_said_again_has_the_same_id_whatever_form_its_dates_have() -> None:
    again = json.loads(CREATE)
    again["msgCreationTime"] += 60_000
    again["message"]["eventTime"] = "2026-11-22T23:58:02.090Z"
    again["message"]["entity"]["attributes"]["openedAt"] = 1795391411120
    assert read(json.dumps(again).encode()).id == read(CREATE).id
    again["message"]["eventTime"] += "x"
    other = read(json.dumps(again).encode())
    assert other.id != read(CREATE).id
    assert not isinstance(other.time, str)


def test_a_message_without_an_envelope_is_the_same_event() -> None:
    bare = json.dumps(json.loads(CREATE)["message"]).encode()
    assert read(bare).id == read(CREATE).id


@pytest.mark.parametrize(
    "name", ["hook_gzip_single.json", "hook_gzip_split.json", "hook_nocompress_split.json"]
)
def test_what_atlas_compressed_or_cut_is_whole_again(name: str) -> None:
    records = json.loads((FIXTURES / name).read_bytes())
    split = SplitMessages()
    records = records if isinstance(records, list) else [records]
    *waiting, event = [read(json.dumps(record).encode(), split, at=n) for n, record in enumerate(records)]
    assert waiting == [None] * (len(records) - 1)
    assert (
        json.loads(bytes(event.data))
        == json.loads((FIXTURES / "hook_entity_create_v2.json").read_bytes())["message"]
    )
    assert split.first_waiting is None


@given(st.permutations(range(7)), st.sampled_from(["GZIP", "NONE"]), st.data())
def test_parts_in_any_order_and_said_twice_make_the_message_once(
    order: list[int], kind: str, data: st.DataObject
) -> None:
    text = zipped(CREATE) if kind == "GZIP" else base64.b64encode(CREATE).decode()
    parts = cut(text, 7, kind=kind)
    split, found = SplitMessages(), []
    for place, index in enumerate(order):
        repeats = data.draw(st.integers(1, 2)) if place < 6 else 1
        found += [read(parts[index], split, at=place) for _ in range(repeats)]
        if place < 6:
            assert split.first_waiting == 0
    events = [event for event in found if event is not None]
    assert [event.id for event in events] == [read(CREATE).id]
    assert split.first_waiting is None
    assert split.evict(10**15) == []


@given(st.randoms())
def test_messages_that_arrive_between_each_other_do_not_mix(rng: Any) -> None:
    documents = [
        json.dumps({"operationType": "ENTITY_UPDATE", "eventTime": n, "entity": {"guid": str(n)}}).encode()
        for n in range(4)
    ]
    records = [part for n, said in enumerate(documents) for part in cut(zipped(said), 3, name=f"m{n}")]
    rng.shuffle(records)
    split = SplitMessages()
    events = [event for record in records if (event := read(record, split)) is not None]
    assert sorted(event.subject for event in events) == ["0", "1", "2", "3"]


def test_a_message_whose_rest_does_not_come_is_given_back_by_age_and_by_number() -> None:
    split = SplitMessages(max_messages=2, max_age_ms=1000)
    for n in range(3):
        read(cut(zipped(CREATE), 2, name=f"m{n}")[1], split, at=10 + n, now=n)
    assert split.first_waiting == 10
    assert split.evict(2) == [Abandoned("m0", (10,), 2)]
    assert split.first_waiting == 11
    assert split.evict(1000) == []
    assert split.evict(1001) == [Abandoned("m1", (11,), 2)]
    assert split.evict(5000) == [Abandoned("m2", (12,), 2)]
    assert split.first_waiting is None


def test_what_waits_is_bounded_in_bytes_together() -> None:
    split = SplitMessages(max_bytes=100)
    for n in range(3):
        read(cut("A" * 160, 2, name=f"m{n}")[0], split, at=n)
    assert [abandoned.message_id for abandoned in split.evict(0)] == ["m0", "m1"]


def test_a_message_is_bounded_while_its_parts_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atlas_notifications, "MAX_MESSAGE_BYTES", 1000)
    split = SplitMessages()
    parts = cut("A" * 8000, 4)
    read(parts[0], split)
    read(parts[1], split)
    with pytest.raises(RejectedError, match="larger"):
        read(parts[2], split)


@pytest.mark.parametrize("size", [MAX_MESSAGE_BYTES + 1, 32 << 20])
def test_a_zip_bomb_is_refused_before_it_is_unpacked(size: int) -> None:
    packer, packed = zlib.compressobj(9, wbits=31), []
    for start in range(0, size, 1 << 20):
        packed.append(packer.compress(b" " * min(1 << 20, size - start)))
    packed.append(packer.flush())
    text = base64.b64encode(b"".join(packed)).decode()
    with pytest.raises(RejectedError, match="larger than 3 MiB"):
        read(json.dumps({"msgCompressionKind": "GZIP", "message": text}).encode())


def test_envelopes_in_envelopes_end() -> None:
    value = CREATE
    for _ in range(5):
        value = json.dumps({"msgCompressionKind": "GZIP", "message": zipped(value)}).encode()
    with pytest.raises(RejectedError, match="too many envelopes"):
        read(value)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"", "not a notification"),
        (b"[]", "not a notification"),
        (b'{"message": 5}', "not a JSON object"),
        (b'{"message": null}', "not a JSON object"),
        (b'{"version": {"versionParts": [2]}, "message": {}}', "version above 1"),
        (b'{"msgCompressionKind": "ZSTD", "message": "YQ=="}', "unknown way"),
        (b'{"msgCompressionKind": "GZIP", "message": "YQ=="}', "not gzip"),
        (b'{"msgCompressionKind": "GZIP", "message": "?"}', "not base64"),
        (b'{"message": "\xc3\xbc"}', "not base64"),
        (b'{"msgSplitCount": 2, "msgSplitIdx": 0, "message": "a"}', "without its place"),
        (b'{"msgId": "m", "msgSplitCount": 2, "msgSplitIdx": 2, "message": "a"}', "without its place"),
        (b'{"msgId": "m", "msgSplitCount": 99999999, "msgSplitIdx": 2, "message": "a"}', "without its place"),
        (b'{"message": {"a": ' + b"[" * 40 + b"]" * 40 + b"}}", "deeper than 32"),
    ],
)
def test_what_is_no_notification_is_rejected_with_a_reason_that_groups(record: bytes, reason: str) -> None:
    with pytest.raises(RejectedError, match=reason):
        read(record)


def test_gzip_that_breaks_off_is_rejected() -> None:
    text = base64.b64encode(gzip.compress(CREATE)[:-12]).decode()
    with pytest.raises(RejectedError, match="not gzip"):
        read(json.dumps({"msgCompressionKind": "GZIP", "message": text}).encode())


def test_parts_that_contradict_each_other_are_rejected_and_the_first_ones_stay() -> None:
    split, parts = SplitMessages(), cut(zipped(CREATE), 2)
    read(parts[0], split)
    for other in (cut("x" * 100, 2)[0], cut("x" * 100, 3)[1], cut("x" * 100, 2, kind="NONE")[1]):
        with pytest.raises(RejectedError, match="contradicts"):
            read(other, split)
    assert read(parts[1], split).id == read(CREATE).id


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_whatever_stands_in_a_record_it_is_an_event_waits_or_is_rejected(value: bytes) -> None:
    for record in (value, json.dumps({"msgCompressionKind": "GZIP", "message": value.hex()}).encode()):
        try:
            event = read(record)
        except RejectedError:
            continue
        assert event is None or isinstance(event, MetadataEvent)
