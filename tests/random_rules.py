"""Random patterns and changes over few words, so that they meet: cheap enough to try thousands in a second."""

from __future__ import annotations

from random import Random
from typing import Any

from airflow_provider_atlan_meta.core.changes import OPS, ChangeEvent

COLUMNS = ("status", "severity", "title", "entity_ids", "attributes")
TENANTS = ("acme", "globex")
KINDS = ("incident", "entity", "monitor")
_TEXTS = ("a", "A", "ab", "aba", "abab", "b*", "\\", "ß", "SS")
_SCALARS = ("", None, True, False, 0, 1, 1.0, 2.5)
_LITERALS = ("*", "*", "a", "b", "ab", r"\*", r"\\", "ß")


class RandomRules:
    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.pick = self._random.choice

    def chance(self, percent: int) -> bool:
        return self._random.randrange(100) < percent

    def some(self, make: Any, most: int = 2) -> list[Any]:
        return [make() for _ in range(self._random.randint(1, most))]

    # ---- patterns

    def pattern(self, levels: int = 1) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for _ in range(self._random.choice((0, 1, 1, 2, 2, 3))):
            name, make = self.pick(self._fields())
            made[name] = make()
        if levels and self.chance(20):
            made["$or"] = [one for one in self.some(lambda: self.pattern(levels - 1), 3) if one] or [
                {"op": "created"}
            ]
        return made

    def _fields(self) -> list[tuple[str, Any]]:
        column = self.pick(COLUMNS)
        return [
            ("kind", lambda: self.pick([self.pick(KINDS), self.some(lambda: self.pick(KINDS))])),
            ("op", lambda: self.pick([self.some(lambda: self.pick(OPS)), [{"anything-but": "deleted"}]])),
            ("tenant_id", lambda: [{"prefix": "a"}]),
            ("revision", lambda: self.pick([2, [{"numeric": [">", 1]}]])),
            ("changed", lambda: self.some(lambda: self.pick(COLUMNS))),
            ("before", lambda: {self.pick(COLUMNS): self._nested()}),
            ("after", lambda: {self.pick(COLUMNS): self._nested()}),
            ("unknown", self._wanted),
            *[(column, self._transition)] * 3,
            *[(column, self._nested)] * 6,
        ]  # fmt: skip

    def _transition(self) -> dict[str, Any]:
        sides = self.pick((["from"], ["to"], ["to"], ["from", "to"]))
        return {side: self._wanted() for side in sides}

    def _nested(self, levels: int = 2) -> Any:
        if not levels or self.chance(70):
            return self._wanted()
        if self.chance(25):
            return {"$or": self.some(lambda: self._nested(levels - 1))}
        return {self.pick("xy"): self._nested(levels - 1) for _ in range(self._random.randint(1, 2))}

    def _wanted(self) -> Any:
        kind = self._random.randrange(6)
        if kind == 0:
            return self._scalar()
        if kind == 1:
            return self.some(lambda: self.pick(_TEXTS))
        if kind in (2, 3):
            return [self._operator()]
        return self.some(lambda: self._operator() if self.chance(50) else self._scalar(), 3)

    def _scalar(self) -> Any:
        return self.pick(_TEXTS if self.chance(60) else _SCALARS)

    def _operator(self) -> dict[str, Any]:
        return self.pick(
            (
                self._text_operator,
                self._text_operator,
                lambda: {"anything-but": self._refused()},
                lambda: {"exists": self.chance(50)},
                lambda: {"numeric": self.pick((["<", 1], [">=", 1], ["=", 2.5], [">", 0, "<=", 2]))},
            )
        )()  # fmt: skip

    def _refused(self) -> Any:
        make = self.pick((self._scalar, self._text_operator, lambda: self.some(self._scalar)))
        return make()

    def _text_operator(self) -> dict[str, Any]:
        name = self.pick(("prefix", "suffix", "equals-ignore-case", "wildcard", "wildcard"))
        make = self._starred if name == "wildcard" else lambda: self.pick(_TEXTS)
        texts = make() if self.chance(70) else self.some(make)
        if name in ("prefix", "suffix") and self.chance(25):
            return {name: {"equals-ignore-case": texts}}
        return {name: texts}

    def _starred(self) -> str:
        return "".join(self.some(lambda: self.pick(_LITERALS), 5))

    # ---- changes

    def change(self) -> ChangeEvent:
        op = self.pick(OPS)
        shape = self.pick(("whole",) * 6 + ("recovered", "thin"))
        fields: dict[str, Any] = {}
        if shape == "thin":
            fields["truncated"] = True
        elif op == "deleted":
            fields["before"] = self._row()
        else:
            after = fields["after"] = self._row()
            if op == "updated" and shape == "whole":
                changed = [column for column in after if self.chance(50)]
                fields |= {"changed": changed, "before": {column: self._value() for column in changed}}
        return ChangeEvent(
            change_id="eac9d351-45a2-7c3f-094d-25591c376f66",
            kind=self.pick(KINDS),
            op=op,
            tenant_id=self.pick((*TENANTS, "initech")),
            id="1",
            revision=self._random.randint(1, 3),
            changed_at="2026-11-25T00:00:28.318675+00:00",
            **fields,
        )

    def _row(self) -> dict[str, Any]:
        return {column: self._value() for column in COLUMNS if self.chance(85)}

    def _value(self, levels: int = 2) -> Any:
        kind = self._random.randrange(8) if levels else 0
        if kind == 6:
            return [self._value(levels - 1) for _ in range(self._random.randrange(4))]
        if kind == 7:
            return {self.pick("xy"): self._value(levels - 1) for _ in range(self._random.randint(1, 2))}
        return self._scalar()
