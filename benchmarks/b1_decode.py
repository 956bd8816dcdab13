"""B1: a record to rows (decode, check, map, keys), against the same job by pydantic v2."""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_atlan_meta.core.enrich import decode_webhook_event, enrich
from airflow_provider_atlan_meta.core.rows import LogRecord
from benchmarks import corpus, pydantic_twin
from benchmarks.measure import Cost, cost_of, median_ratio, rates, take_turns
from benchmarks.results import Row, row

ID = "B1"
TARGET = 6.0
# Few enough to stay in the CPU's cache, where the consumer leaves what it has just received.
_RECORDS = 2_000
# How many rows are alive at a time: as many as in the ingest engine.
_BATCH = 1_000

_Call = Callable[[LogRecord], object]


def run(rounds: int, quick: bool) -> list[Row]:
    rows = []
    for shape in corpus.SHAPES:
        records = list(corpus.records(_RECORDS // 4 if shape is corpus.LONG else _RECORDS, shape=shape))
        _check_equal(records)
        passes = 5 if quick else 25
        rows += _compare(shape, records, rounds, passes)
        if shape is corpus.USUAL:
            rows.append(_decode_alone(records, rounds, passes))
    return rows


def _check_equal(records: list[LogRecord]) -> None:
    for record in records:
        if not enrich(record) == pydantic_twin.enrich(record) == pydantic_twin.enrich_mapped(record):
            raise RuntimeError(f"ours and the twin disagree on the record at offset {record.offset}")


def _compare(shape: corpus.Shape, records: list[LogRecord], rounds: int, passes: int) -> list[Row]:
    contenders: dict[str, _Call] = {
        "ours": enrich,
        "documented": pydantic_twin.enrich,
        "mapped": pydantic_twin.enrich_mapped,
    }
    costs = take_turns({name: _work(call, records, passes) for name, call in contenders.items()}, rounds)
    count = len(records) * passes
    cpu = {name: [cost.client for cost in measured] for name, measured in costs.items()}
    rows = []
    for peer, what in (
        ("documented", "pydantic v2, the documented webhook"),
        ("mapped", "pydantic v2, only the fields the rows need"),
    ):
        gated = shape is corpus.USUAL and peer == "documented"
        mine, theirs = rates(costs["ours"], count), rates(costs[peer], count)
        rows.append(
            row(
                ID,
                f"record of {shape.name} to rows / {what}",
                ours=mine.cpu_us,
                peer=theirs.cpu_us,
                unit="µs CPU per record",
                ratio=median_ratio(cpu[peer], cpu["ours"]),
                target=TARGET if gated else None,
                rounds=rounds,
                ours_per_second=mine.per_second,
                peer_per_second=theirs.per_second,
            )
        )
    return rows


def _decode_alone(records: list[LogRecord], rounds: int, passes: int) -> Row:
    """Decoding and validating without mapping, checks of the record and keys, which cost both the same."""

    def ours(record: LogRecord) -> None:
        decode_webhook_event(record.value or b"")

    def peer(record: LogRecord) -> None:
        pydantic_twin.Envelope.model_validate_json(record.value or b"")

    costs = take_turns({"ours": _work(ours, records, passes), "peer": _work(peer, records, passes)}, rounds)
    count = len(records) * passes
    return row(
        ID,
        "decode and validate 1.7 KB, nothing else / pydantic v2, the documented webhook",
        ours=rates(costs["ours"], count).cpu_us,
        peer=rates(costs["peer"], count).cpu_us,
        unit="µs CPU per record",
        ratio=median_ratio(*([cost.client for cost in costs[name]] for name in ("peer", "ours"))),
        rounds=rounds,
    )


def _work(call: _Call, records: list[LogRecord], passes: int) -> Callable[[], Cost]:
    batches = [records[start : start + _BATCH] for start in range(0, len(records), _BATCH)]

    def work() -> None:
        for _ in range(passes):
            for batch in batches:
                [call(record) for record in batch]

    return lambda: cost_of(work)
