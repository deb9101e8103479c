"""The address of a table, taken apart; whatever is printed of it has no password."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from ...contracts import UsageError

FORM = "postgresql://USER@HOST:PORT/DATABASE/TABLE"
_SCHEMES = ("postgresql://", "postgres://")
_HOST = r"(?:\[[0-9A-Fa-f:.%]*\]|[^:\[\]@/?#,]*)(?::\d*)?"
_URL = re.compile(
    rf"postgres(?:ql)?://(?:(?P<user>[^:@/?#]*)(?::(?P<password>[^@/?#]*))?@)?(?P<hosts>{_HOST}(?:,{_HOST})*)"
    r"(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?"
)
#: Parameters of a URL that are secret.
_SECRET = {"password", "sslpassword"}
#: Bytes of the longest name of a table: PostgreSQL cuts longer ones.
_LONGEST = 63


@dataclass(frozen=True)
class Address:
    """A table of a database. url: of the database, for libpq. secrets: what is never printed. As text: without them."""

    url: str = field(repr=False)
    database: str
    table: str
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return f"{self.database}/{self.table}"

    def hidden(self, message: str) -> str:
        """What a library says, without secrets."""
        for secret in self.secrets:
            message = message.replace(secret, "***")
        return " ".join(message.split())


def is_address(text: str) -> bool:
    """Whether something is meant to be a URL of a database, and not a path."""
    return text.lower().startswith(_SCHEMES)


def parse_address(url: str, table: str | None = None) -> Address:
    """``postgresql://USER:PASSWORD@HOST:PORT/DATABASE/TABLE?PARAMETERS``, all of it as libpq has it but for the table.

    table: its name, if the URL ends with the database. Special characters of names and passwords are written %XX.
    Raises UsageError, which shows nothing of what may be a password.
    """
    match = _URL.fullmatch(url)
    if match is None or "\0" in url or not url.isprintable():
        raise UsageError(f"this is no URL of a table: expected {FORM}, with special characters as %XX")
    parts = [part for part in (match["path"] or "").split("/")[1:] if part]
    if len(parts) != (2 if table is None else 1):
        expected = FORM if table is None else f"{FORM.rpartition('/')[0]} with --table"
        raise UsageError(f"this is no URL of a table: expected {expected}, found {len(parts)} names behind the host")
    name = unquote(parts[-1], errors="surrogateescape") if table is None else table
    _check_table(name)
    authority = f"{match['user']}{':' + match['password'] if match['password'] is not None else ''}@"
    authority = (authority if match["user"] is not None else "") + match["hosts"]
    query = match["query"] or ""
    given = [match["password"] or "", *(value for key, value in parse_qsl(query[1:]) if key in _SECRET)]
    secrets = {text for secret in given for text in (secret, unquote(secret)) if text}
    shown = f"postgresql://{match['user'] + '@' if match['user'] else ''}{match['hosts']}/{parts[0]}"
    target = f"postgresql://{authority}/{parts[0]}{query}"
    return Address(target, shown, name, tuple(sorted(secrets, key=len, reverse=True)))


def _check_table(name: str) -> None:
    """Raises UsageError for what PostgreSQL would cut or refuse."""
    try:
        length = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        length = 0
    if not 1 <= length <= _LONGEST or "\0" in name:
        raise UsageError(f"a table's name has 1 to {_LONGEST} bytes of UTF-8, got {name[:100]!a}")
