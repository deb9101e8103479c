"""Pages that need no server: a template with one script, which its content-security policy names by hash."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_FIELD = re.compile(r"\{\{(\w+)\}\}")


def filled(template: Path, fields: Mapping[str, str]) -> str:
    """The text of a template with each ``{{NAME}}`` replaced by the field of that name, escaped by the caller already,
    and ``{{SCRIPT}}`` by the SHA-256 of its one plain script, in base64, as a policy names it.

    No field can become a script: the policy's hash is that of the template's own. Raises KeyError for an unknown name.
    """
    text = template.read_text(encoding="utf-8")
    (script,) = _SCRIPT.findall(text)
    known = {**fields, "SCRIPT": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}
    return _FIELD.sub(lambda found: known[found[1]], text)
