"""What a pattern asks of one value: exact values and operators, compiled to closures.

No value can make a condition raise, and none takes more than linear time: there are no regular expressions. An array
meets a condition when one of its elements does; ``anything-but`` is met when none of them is what is refused.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

Path = tuple[str | int, ...]
Problems = list[tuple[Path, str]]
Test = Callable[[Any], bool]
Where = Literal["prefix", "suffix", "within", "folded"]

MAX_VALUES = 1000
MAX_TEXT = 1024
_MAX_NUMBER = 2**63

_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    ">": operator.gt,
    ">=": operator.ge,
}
# Names people bring from elsewhere, and what is meant here.
_MEANT = {
    **dict.fromkeys(("regex", "regexp", "matches", "like", "glob"), "wildcard, where * is any text"),
    **dict.fromkeys(("contains", "substring"), 'wildcard: "*text*"'),
    **dict.fromkeys(("starts-with", "startswith", "begins-with"), "prefix"),
    **dict.fromkeys(("ends-with", "endswith"), "suffix"),
    **dict.fromkeys(("not", "not-in", "ne", "neq", "not-equals", "!=", "except"), "anything-but"),
    **dict.fromkeys(("in", "any", "any-of", "one-of", "or"), "the list itself: one of its values has to fit"),
    **dict.fromkeys(("equals", "eq", "exact", "is"), "the value itself, without an operator"),
    **dict.fromkeys(("iequals", "ignore-case", "case-insensitive"), "equals-ignore-case"),
    **dict.fromkeys(("gt", "gte", "lt", "lte", "between", "<", "<=", ">", ">=", "="), 'numeric: [">", 5]'),
    **dict.fromkeys(("present", "absent", "null", "missing"), "exists: true or exists: false"),
    **dict.fromkeys(("from", "to"), "a mapping beside the column, without a list: {from: [...], to: [...]}"),
}


@dataclass(frozen=True, slots=True)
class Part:
    """What a text has to hold; ``folded``: all there is in it but for the case.

    :ivar decides: whether every text that holds it fits.
    """

    where: Where
    text: str
    decides: bool = True


@dataclass(frozen=True, slots=True)
class Values:
    """Alternatives for one field, compiled.

    :ivar source: as a list, the way it is kept and compared.
    :ivar accepts: any JSON value.
    :ivar accepts_one: the same for what is no array, cheaper.
    :ivar accepts_absent: whether a field that is not there fits.
    :ivar strings: set where nothing but these texts fits.
    :ivar part: set where nothing fits that lacks this part of a text.
    """

    source: list[Any]
    accepts: Test
    accepts_one: Test
    accepts_absent: bool
    strings: frozenset[str] | None
    part: Part | None


def parse_values(source: Any, path: Path, problems: Problems) -> Values:
    """A list of alternatives, or one alone: exact values and operators."""
    items = source if isinstance(source, list) else [source]
    if not items:
        problems.append(
            (
                path,
                "an empty list fits nothing; name what is wanted, or leave the field out to allow anything",
            )
        )
    if len(items) > MAX_VALUES:
        problems.append((path, f"{len(items)} values; at most {MAX_VALUES} are allowed"))
    alternatives = _Alternatives()
    for number, item in enumerate(items[:MAX_VALUES]):
        alternatives.add(item, (*path, number) if items is source else path, problems)
    return alternatives.values(list(items))


@dataclass(slots=True)
class _Alternatives:
    exact: list[Any] = field(default_factory=list)
    wanted: list[Test] = field(default_factory=list)
    refused: list[Test] = field(default_factory=list)
    exists: set[bool] = field(default_factory=set)

    def add(self, item: Any, path: Path, problems: Problems) -> None:
        if not isinstance(item, dict):
            if _is_scalar(item, path, problems):
                self.exact.append(item)
        elif len(item) != 1:
            problems.append(
                (path, f"an operator stands alone, as {{prefix: SEV}}; here are {len(item)} keys")
            )
        else:
            name, argument = next(iter(item.items()))
            self._add_operator(name, argument, (*path, name), problems)

    def _add_operator(self, name: str, argument: Any, path: Path, problems: Problems) -> None:
        if name == "anything-but":
            self.refused.append(_anything_but(argument, path, problems))
        elif name == "numeric":
            self.wanted.append(_numeric(argument, path, problems))
        elif name in TEXT_OPERATORS:
            self.wanted.append(TEXT_OPERATORS[name](argument, path, problems))
        elif name != "exists":
            problems.append((path, unknown_operator(name)))
        elif isinstance(argument, bool):
            self.exists.add(argument)
        else:
            problems.append((path, f"exists takes true or false, not {shown(argument)}"))

    def values(self, source: list[Any]) -> Values:
        only_texts = not (self.wanted or self.refused or self.exists) and all(
            isinstance(one, str) for one in self.exact
        )
        wanted = [_exact(self.exact), *self.wanted] if self.exact else self.wanted
        others = [*map(_negated, self.refused), *map(_existence, self.exists)]
        one = _one_of([*wanted, *others])
        array = _array_test(_one_of(wanted), self.refused, self.exists)
        return Values(
            source=source,
            accepts=lambda value: array(value) if type(value) is list else one(value),
            accepts_one=one,
            accepts_absent=False in self.exists,
            strings=frozenset(self.exact) if only_texts else None,
            part=_part(source),
        )


def _part(source: Sequence[Any]) -> Part | None:
    """Of a single operator on a single text."""
    alone = source[0] if len(source) == 1 else None
    name, text = next(iter(alone.items())) if type(alone) is dict and alone else ("", None)
    text = text[0] if type(text) is list and len(text) == 1 else text
    if type(text) is not str:
        return None
    if name == "prefix":
        return Part("prefix", text)
    if name == "suffix":
        return Part("suffix", text)
    if name == "equals-ignore-case":
        return Part("folded", text.casefold())
    parts = _parts(text, (), []) if name == "wildcard" else [""]
    longest = max(parts, key=len)
    return Part("within", longest, decides=parts == ["", longest, ""]) if longest else None


def is_operator(name: str) -> bool:
    """Whether it is one, or is called one elsewhere."""
    return name in OPERATORS or name in _MEANT


def unknown_operator(name: str) -> str:
    """What is said of a word that is none of ``OPERATORS``."""
    word = str(name).lower().replace("_", "-")
    near = get_close_matches(word, OPERATORS, n=1)
    meant = _MEANT.get(word) or (near[0] if near else "")
    hint = f"; use {meant}" if meant else ""
    return f"no operator {str(name)[:40]!r}{hint} (there are: {', '.join(OPERATORS)})"


# ---- how alternatives are put together -----------------------------------------------------------------------------


def _array_test(one: Test, refused: Sequence[Test], exists: set[bool]) -> Test:
    """An array is there, whatever is in it; one element has to be wanted, none may be refused."""
    return lambda elements: (
        True in exists or any(map(one, elements)) or any(not any(map(test, elements)) for test in refused)
    )


def _one_of(tests: Sequence[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    return lambda value: any(test(value) for test in tests)


def _negated(test: Test) -> Test:
    return lambda value: not test(value)


def _existence(exists: bool) -> Test:
    return lambda value: (value is not None) is exists


# ---- exact values --------------------------------------------------------------------------------------------------


def _is_scalar(item: Any, path: Path, problems: Problems) -> bool:
    if isinstance(item, str) and len(item) > MAX_TEXT:
        problems.append((path, f"a text of {len(item)} characters; at most {MAX_TEXT} are allowed"))
    elif isinstance(item, int | float) and not -_MAX_NUMBER <= item <= _MAX_NUMBER:
        problems.append((path, "a number outside 64 bits"))
    elif item is None or isinstance(item, str | bool | int | float):
        return True
    else:
        problems.append(
            (path, f"a {'list' if isinstance(item, list) else type(item).__name__} is no value; allowed are text, "
             "number, true, false, null and {operator: ...}")
        )  # fmt: skip
    return False


def _exact(items: Sequence[Any]) -> Test:
    """``1`` and ``1.0`` are one number; ``true`` is none."""
    strings = frozenset(item for item in items if isinstance(item, str))
    words = tuple(item for item in items if item is None or isinstance(item, bool))
    numbers = frozenset(
        item for item in items if isinstance(item, int | float) and not isinstance(item, bool)
    )

    def exact(value: Any) -> bool:
        kind = type(value)
        if kind is str:
            return value in strings
        if kind is int or kind is float:
            return value in numbers
        return (value is None or kind is bool) and value in words

    return exact


def _anything_but(argument: Any, path: Path, problems: Problems) -> Test:
    """What is refused: the condition is met by everything else that is there, null included."""
    if isinstance(argument, dict):
        name = next(iter(argument), "")
        if len(argument) == 1 and name in TEXT_OPERATORS:
            return TEXT_OPERATORS[name](argument[name], (*path, name), problems)
        problems.append(
            (path, f"anything-but takes values, or one of {', '.join(TEXT_OPERATORS)}; not {shown(argument)}")
        )
        return _never
    items = argument if isinstance(argument, list) else [argument]
    if not items or len(items) > MAX_VALUES:
        problems.append((path, f"anything-but takes 1 to {MAX_VALUES} values; here are {len(items)}"))
        return _never
    places = [(*path, number) if items is argument else path for number in range(len(items))]
    allowed = [item for item, place in zip(items, places, strict=True) if _is_scalar(item, place, problems)]
    return _exact(allowed)


def _never(_: Any) -> bool:
    return False


# ---- text and numbers ----------------------------------------------------------------------------------------------


def _texts(argument: Any, path: Path, problems: Problems) -> tuple[str, ...]:
    texts = argument if isinstance(argument, list) else [argument]
    if not texts or not all(isinstance(text, str) and 0 < len(text) <= MAX_TEXT for text in texts):
        problems.append(
            (path, f"takes a text of 1 to {MAX_TEXT} characters, or a list of such; not {shown(argument)}")
        )
        return ("",)
    if len(texts) > MAX_VALUES:
        problems.append((path, f"{len(texts)} texts; at most {MAX_VALUES} are allowed"))
    return tuple(texts)


def _end_of_text(method: Callable[[str, tuple[str, ...]], bool]) -> Callable[[Any, Path, Problems], Test]:
    """``prefix`` and ``suffix``: of the text as it is, or of ``{equals-ignore-case: text}``."""

    def parse(argument: Any, path: Path, problems: Problems) -> Test:
        if isinstance(argument, dict) and list(argument) == ["equals-ignore-case"]:
            inner = (*path, "equals-ignore-case")
            folded = tuple(
                text.casefold() for text in _texts(argument["equals-ignore-case"], inner, problems)
            )
            return lambda value: type(value) is str and method(value.casefold(), folded)
        texts = _texts(argument, path, problems)
        return lambda value: type(value) is str and method(value, texts)

    return parse


def _equals_ignore_case(argument: Any, path: Path, problems: Problems) -> Test:
    folded = frozenset(text.casefold() for text in _texts(argument, path, problems))
    return lambda value: type(value) is str and value.casefold() in folded


def _wildcard(argument: Any, path: Path, problems: Problems) -> Test:
    return _one_of([_like(_parts(text, path, problems)) for text in _texts(argument, path, problems)])


def _parts(text: str, path: Path, problems: Problems) -> list[str]:
    r"""The literal parts between the stars; ``\*`` and ``\\`` stand for themselves."""
    parts, escaped = [""], False
    for character in text:
        if escaped or (character not in "*\\"):
            if escaped and character not in "*\\":
                problems.append((path, rf"\{character} in a wildcard; only \* and \\ stand for themselves"))
            parts[-1] += character
            escaped = False
        elif character == "*":
            parts.append("")
        else:
            escaped = True
    if escaped:
        problems.append((path, r"a wildcard ends with a single \; write \\ for the character itself"))
    return parts


def _like(parts: Sequence[str]) -> Test:
    """The first fit of each part is always as good as a later one, so nothing is tried twice."""
    if len(parts) == 1:
        return lambda value: type(value) is str and value == parts[0]
    first, *middle, last = parts
    if not first and not last and len(middle) == 1:
        return lambda value: type(value) is str and middle[0] in value
    least = sum(map(len, parts))

    def like(value: Any) -> bool:
        if type(value) is not str or len(value) < least:
            return False
        if not value.startswith(first) or not value.endswith(last):
            return False
        position, end = len(first), len(value) - len(last)
        for part in middle:
            found = value.find(part, position, end)
            if found < 0:
                return False
            position = found + len(part)
        return True

    return like


def _numeric(argument: Any, path: Path, problems: Problems) -> Test:
    """One comparison or two that both have to hold: ``[">=", 1, "<", 10]``."""
    pairs = list(zip(argument[::2], argument[1::2], strict=False)) if isinstance(argument, list) else []
    fits = isinstance(argument, list) and len(argument) in (2, 4) and all(
        isinstance(sign, str)
        and sign in _COMPARISONS
        and isinstance(bound, int | float)
        and not isinstance(bound, bool)
        and -_MAX_NUMBER <= bound <= _MAX_NUMBER
        for sign, bound in pairs
    )  # fmt: skip
    if not fits:
        signs = " ".join(_COMPARISONS)
        problems.append(
            (path, f'numeric takes one or two comparisons, as in [">=", 1, "<", 10], with {signs} and a number; '
             f"not {shown(argument)}")
        )  # fmt: skip
        return _never
    compared = [(_COMPARISONS[sign], bound) for sign, bound in pairs]
    return lambda value: (
        (type(value) is int or type(value) is float)
        and all(compare(value, bound) for compare, bound in compared)
    )


TEXT_OPERATORS: Mapping[str, Callable[[Any, Path, Problems], Test]] = {
    "prefix": _end_of_text(str.startswith),
    "suffix": _end_of_text(str.endswith),
    "equals-ignore-case": _equals_ignore_case,
    "wildcard": _wildcard,
}
OPERATORS = ("anything-but", *TEXT_OPERATORS, "exists", "numeric")

_SHOWN = 200


def shown(value: Any) -> str:
    """A value as one bounded line that no character of it can break out of."""
    if isinstance(value, str) and len(value) > _SHOWN:
        value = value[:_SHOWN] + "..."
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    text = text if len(text) <= _SHOWN + 8 else text[:_SHOWN] + "..."
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
