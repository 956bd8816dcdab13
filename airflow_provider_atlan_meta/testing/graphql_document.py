"""As much of GraphQL as the recorder needs: one operation with variables, fields, arguments and fragments on types.

Not a validator: what it cannot read it refuses, and what a type has is the caller's to know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_TOKEN = re.compile(
    r'\s+|,|#[^\n]*|(\.\.\.|"(?:[^"\\\n]|\\.)*"|-?\d+(?:\.\d+)?|[A-Za-z_]\w*|[{}()\[\]:!$=@])'
)
_LITERALS = {"null": None, "true": True, "false": False}


class GraphQLError(Exception):
    """An entry of ``errors`` in the answer."""


class Field(NamedTuple):
    """:param fields: what is selected below it; a fragment's fields stand where the fragment stood."""

    name: str
    arguments: dict[str, Any]
    fields: tuple[Field, ...]


class Operation(NamedTuple):
    """:param kind: query or mutation."""

    kind: str
    fields: tuple[Field, ...]


def parse_operation(text: str, variables: Mapping[str, Any]) -> Operation:
    """The document's only operation, its variables put in.

    :raises GraphQLError: not readable, or a required variable is missing.
    """
    return _Reader(text, variables).operation()


class _Reader:
    def __init__(self, text: str, variables: Mapping[str, Any]) -> None:
        self._tokens = [*_tokens(text), ""]
        self._at = 0
        self._variables = dict(variables)

    def operation(self) -> Operation:
        kind = "query"
        if self._peek() in ("query", "mutation"):
            kind = self._next()
            if self._peek() not in ("(", "{"):
                self._next()
            if self._peek() == "(":
                self._declare_variables()
        fields = tuple(self._selection())
        if self._peek():
            raise GraphQLError(f"Syntax Error: Unexpected {self._peek()!r}.")
        return Operation(kind, fields)

    def _declare_variables(self) -> None:
        self._expect("(")
        while self._peek() != ")":
            self._expect("$")
            name = self._next()
            self._expect(":")
            spelled = self._type()
            if self._peek() == "=":
                self._next()
                self._variables.setdefault(name, self._value())
            if spelled.endswith("!") and self._variables.get(name) is None:
                raise GraphQLError(f'Variable "${name}" of required type "{spelled}" was not provided.')
        self._expect(")")

    def _type(self) -> str:
        if self._peek() == "[":
            self._next()
            spelled = f"[{self._type()}]"
            self._expect("]")
        else:
            spelled = self._next()
        if self._peek() == "!":
            spelled += self._next()
        return spelled

    def _selection(self) -> Iterator[Field]:
        self._expect("{")
        while self._peek() != "}":
            if self._peek() == "...":
                self._next()
                if self._peek() == "on":
                    self._next()
                    self._next()
                yield from self._selection()
                continue
            name = self._name()
            arguments = self._arguments() if self._peek() == "(" else {}
            yield Field(name, arguments, tuple(self._selection()) if self._peek() == "{" else ())
        self._expect("}")

    def _arguments(self) -> dict[str, Any]:
        """A variable that was not given leaves its argument out."""
        arguments: dict[str, Any] = {}
        self._expect("(")
        while self._peek() != ")":
            name = self._name()
            self._expect(":")
            if self._peek() == "$" and self._tokens[self._at + 1] not in self._variables:
                self._at += 2
            else:
                arguments[name] = self._value()
        self._expect(")")
        return arguments

    def _value(self) -> Any:
        token = self._next()
        if token == "$":  # noqa: S105 - a sign of the language
            return self._variables.get(self._next())
        if token == "[":  # noqa: S105
            values = []
            while self._peek() != "]":
                values.append(self._value())
            self._next()
            return values
        if token == "{":  # noqa: S105
            fields = {}
            while self._peek() != "}":
                name = self._name()
                self._expect(":")
                fields[name] = self._value()
            self._next()
            return fields
        if token[:1] in '"-' or token[:1].isdigit():
            return json.loads(token)
        return _LITERALS.get(token, token)

    def _peek(self) -> str:
        return self._tokens[self._at]

    def _next(self) -> str:
        token = self._tokens[self._at]
        if not token:
            raise GraphQLError("Syntax Error: Unexpected <EOF>.")
        self._at += 1
        return token

    def _name(self) -> str:
        name = self._next()
        if not name.isidentifier():
            raise GraphQLError(f"Syntax Error: Expected Name, found {name!r}.")
        return name

    def _expect(self, token: str) -> None:
        found = self._next()
        if found != token:
            raise GraphQLError(f"Syntax Error: Expected {token!r}, found {found!r}.")


def _tokens(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise GraphQLError(f"Syntax Error: Unexpected character: {text[at]!r}.")
        if found[1]:
            yield found[1]
        at = found.end()
