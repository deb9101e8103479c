"""Which rows of a table count, as people say it: a column, an operator and a value, which stay apart for good."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...contracts import UsageError

#: As SQL has them; those without a value last.
OPERATORS = ("=", "<>", "!=", "<=", ">=", "<", ">", "not like", "like", "not ilike", "ilike")
_BARE = ("is not null", "is null")
_WORDS = "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in (*OPERATORS, *_BARE))
_CONDITION = re.compile(
    rf"""\s*(?:"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>[^\W\d]\w*))\s*"""
    rf"""(?P<operator>(?:(?<=\s)|(?<=")|(?=[^\w\s]))(?:{_WORDS}))(?P<value>.*)""",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Condition:
    """column: its very name. operator: one that SQL knows. value: text that the database reads as the column's type;
    None where the operator takes none."""

    column: str
    operator: str
    value: str | None


def parse_condition(text: str) -> Condition:
    """``COLUMN OPERATOR VALUE``, as in ``size > 100000``, ``path LIKE summer/%`` or ``album IS NULL``.

    The column is taken as it is written, in double quotes if it is no plain word. The value is all that follows, in
    single quotes or not. Raises UsageError for anything else.
    """
    match = _CONDITION.fullmatch(text)
    if match is None or "\0" in text:
        known = ", ".join((*OPERATORS, *_BARE))
        raise UsageError(f"a condition is COLUMN OPERATOR VALUE, with one of {known}, got {text!a}")
    column = match["plain"] or match["quoted"].replace('""', '"')
    operator, value = " ".join(match["operator"].lower().split()), match["value"]
    if operator in _BARE:
        if value.strip():
            raise UsageError(f"{operator} takes no value, got {value.strip()!a}")
        return Condition(column, operator, None)
    if operator[-1].isalpha() and value and not (value[0].isspace() or value[0] == "'"):
        raise UsageError(f"{operator} and its value are apart, got {text!a}")
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] == "'":
        value = value[1:-1].replace("''", "'")
    return Condition(column, operator, value)
