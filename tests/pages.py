"""The project's pages taken apart: code blocks with their marks, headings, links, and tables that name their source."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from places import ROOT

_BLOCK = re.compile(r"(?:^<!-- (?P<mark>[a-z-]+) -->\n)?^```(?P<kind>\w*)\n(?P<code>.*?)^```$", re.S | re.M)
_HEADING = re.compile(r"^(?P<level>#+) (?P<title>.+)$", re.M)
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_TABLE = re.compile(r"^<!-- from (?P<source>\S+) -->\n(?P<rows>(?:^\|.*\n?)+)", re.M)
#: A path of the checkout, in backticks.
_PATH = re.compile(r"`((?:aecodec|benchmarks|docs|scripts|tests)/[\w./-]*\w/?)`")

README = ROOT / "README.md"
#: The block is for a fresh machine or needs data that is not here: it is checked, not run.
FRESH = "fresh-machine"


@dataclass(frozen=True)
class Block:
    """A fenced block. kind: the word after the fence; mark: of the comment above it; line: where its code begins."""

    kind: str
    code: str
    mark: str | None
    line: int

    @property
    def runs(self) -> bool:
        """Whether a reader can run it as it stands."""
        return self.kind in ("sh", "python") and self.mark != FRESH


@dataclass(frozen=True)
class Table:
    """A table whose figures stand in a file. source: its path in the checkout; rows: of cells, the heading first."""

    source: str
    rows: list[list[str]]


@dataclass(frozen=True)
class Page:
    """A page of Markdown."""

    path: Path

    @property
    def name(self) -> str:
        """The path in the checkout."""
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        """All of it."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """All of it but the blocks."""
        return _BLOCK.sub("", self.text)

    @cached_property
    def blocks(self) -> list[Block]:
        """Every fenced block, in order."""
        return [
            Block(m["kind"], m["code"], m["mark"], self.text.count("\n", 0, m.start("code")) + 1)
            for m in _BLOCK.finditer(self.text)
        ]

    @cached_property
    def anchors(self) -> set[str]:
        """What a link may name after #."""
        titles = [m["title"] for m in _HEADING.finditer(self.prose)]
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}

    @cached_property
    def links(self) -> list[str]:
        """Targets of links and pictures, and paths of the checkout that the prose names, less those of the web."""
        targets = [m["target"] for m in _LINK.finditer(self.prose)]
        return [target for target in targets if "://" not in target]

    @cached_property
    def paths(self) -> list[str]:
        """Paths of the checkout that the prose names in backticks."""
        return _PATH.findall(self.prose)

    @cached_property
    def tables(self) -> list[Table]:
        """The tables that name their source."""
        return [Table(m["source"], rows_of(m["rows"])) for m in _TABLE.finditer(self.text)]

    def section(self, title: str) -> str:
        """The text below a heading, to the next heading of its level or above, blocks included; "" if it is not there.

        A # in a block is no heading.
        """
        headings = [m for m in _HEADING.finditer(self.text) if not self._in_block(m.start())]
        for number, heading in enumerate(headings):
            if heading["title"] == title:
                ends = [m.start() for m in headings[number + 1 :] if len(m["level"]) <= len(heading["level"])]
                return self.text[heading.end() : min(ends, default=len(self.text))]
        return ""

    def _in_block(self, place: int) -> bool:
        return any(m.start() <= place < m.end() for m in _BLOCK.finditer(self.text))


def rows_of(text: str) -> list[list[str]]:
    """The rows of a Markdown table as cells, without the line below the heading; bold is taken off."""
    lines = [line.strip().strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip().replace("**", "") for cell in line] for line in lines]
    return [line for line in cells if not all(re.fullmatch(r":?-+:?", cell) for cell in line)]


def pages() -> list[Page]:
    """README.md and docs/*.md."""
    return [Page(README), *(Page(path) for path in sorted((ROOT / "docs").glob("*.md")))]
