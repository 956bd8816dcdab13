"""Which characters ``repr()`` spells out, by Python version.

``repr()`` keeps printable characters and escapes the rest (``\\u2ffc``). What is printable follows the
Unicode tables a Python was built with; from version to version characters were only ever added. A text that
went through ``repr()`` on another Python can differ from ours, in exactly the characters listed here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache

# Characters that became printable, as hexadecimal code points and ranges. Before the first step: Python 3.9
# and 3.10 (Unicode 13). Taken from str.isprintable() over all code points of the interpreters named.
STEPS: tuple[str, ...] = (
    # Python 3.11: Unicode 14.0
    "61d 870-88e 898-89f 8b5 8c8-8d2 c3c c5d cdd 170d 1715 171f 180f 1ac1-1ace 1b4c 1b7d-1b7e 1dfa 20c0 "
    "2c2f 2c5f 2e53-2e5d 9ffd-9fff a7c0-a7c1 a7d0-a7d1 a7d3 a7d5-a7d9 a7f2-a7f4 fbc2 fd40-fd4f fdcf "
    "fdfe-fdff 10570-1057a 1057c-1058a 1058c-10592 10594-10595 10597-105a1 105a3-105b1 105b3-105b9 "
    "105bb-105bc 10780-10785 10787-107b0 107b2-107ba 10f70-10f89 11070-11075 110c2 116b9 11740-11746 "
    "11ab0-11abf 12f90-12ff2 16a70-16abe 16ac0-16ac9 1aff0-1aff3 1aff5-1affb 1affd-1affe 1b11f-1b122 "
    "1cf00-1cf2d 1cf30-1cf46 1cf50-1cfc3 1d1e9-1d1ea 1df00-1df1e 1e290-1e2ae 1e7e0-1e7e6 1e7e8-1e7eb "
    "1e7ed-1e7ee 1e7f0-1e7fe 1f6dd-1f6df 1f7f0 1f979 1f9cc 1fa7b-1fa7c 1faa9-1faac 1fab7-1faba "
    "1fac3-1fac5 1fad7-1fad9 1fae0-1fae7 1faf0-1faf6 2a6de-2a6df 2b735-2b738",
    # Python 3.12: Unicode 15.0
    "cf3 ece 10efd-10eff 1123f-11241 11b00-11b09 11f00-11f10 11f12-11f3a 11f3e-11f59 1342f 13440-13455 "
    "1b132 1b155 1d2c0-1d2d3 1df25-1df2a 1e030-1e06d 1e08f 1e4d0-1e4f9 1f6dc 1f774-1f776 1f77b-1f77f "
    "1f7d9 1fa75-1fa77 1fa87-1fa88 1faad-1faaf 1fabb-1fabd 1fabf 1face-1facf 1fada-1fadb 1fae8 "
    "1faf7-1faf8 2b739 31350-323af",
    # Python 3.13: Unicode 15.1
    "2ffc-2fff 31ef 2ebf0-2ee5d",
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-f]{4})|U([0-9a-f]{8})|.)", re.DOTALL)


def _ranges(step: str) -> Iterator[tuple[int, int]]:
    for item in step.split():
        first, _, last = item.partition("-")
        yield int(first, 16), int(last or first, 16)


@cache
def own_step() -> int:
    """How many steps the running Python has taken."""
    return sum(chr(next(_ranges(step))[0]).isprintable() for step in STEPS)


@cache
def _members(step: int) -> frozenset[int]:
    return frozenset(code for first, last in _ranges(STEPS[step]) for code in range(first, last + 1))


@cache
def _pattern(step: int) -> re.Pattern[str]:
    return re.compile(
        "[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in _ranges(STEPS[step])) + "]"
    )


def spelled_by(step: int, text: str) -> str:
    """``text``, a ``repr()`` made here, as a Python that has taken ``step`` steps would have made it."""
    own = own_step()
    for newer in range(step, own):
        text = _pattern(newer).sub(_escaped, text)
    if step > own:
        text = _ESCAPE.sub(_kept(frozenset().union(*map(_members, range(own, step)))), text)
    return text


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _kept(members: frozenset[int]) -> Callable[[re.Match[str]], str]:
    def character(match: re.Match[str]) -> str:
        digits = match[1] or match[2]
        return chr(int(digits, 16)) if digits and int(digits, 16) in members else match[0]

    return character
