"""What ``aecodec dedup`` found, told: groups line by line, as JSON and as a page, and what may be moved of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .hashing import decoder, shown
from .output import emit_json, notice, say, size_text

if TYPE_CHECKING:
    from ..index.hash_index import HashIndex
    from ..search.duplicates import Member
    from ..search.keeping import Keeping
    from ..search.moving import Chosen
    from ..search.pictures import CodeReader


@dataclass(frozen=True)
class Opened:
    """Both indexes, what made them if a folder was hashed, and 1 if a picture could not be read."""

    first: HashIndex
    other: HashIndex | None
    reader: CodeReader | None
    code: int

    @property
    def indexes(self) -> list[HashIndex]:
        """One or two."""
        return [self.first] if self.other is None else [self.first, self.other]

    @property
    def roots(self) -> list[Path]:
        """The folder of each."""
        return [Path(index.root) for index in self.indexes]


def _stored(member: Member, index: HashIndex) -> bool:
    """Whether a picture's code is the one that its .aec file carries; where windows were hashed none is."""
    from ..search.pictures import carries_code

    return not index.layout and carries_code(member.path, index.hasher, index.fingerprint, index.n_bits)


def _marks(member: Member, opened: Opened) -> list[str]:
    """What else there is to say of how a picture was found."""
    from ..index.windows import WHOLE
    from ..search.turning import TURNS
    from ..search.windows import part_text

    marks = [TURNS[member.turn], "code stored in the file" if _stored(member, opened.first) else ""]
    marks += [f"its {part_text(member.part)}"] if member.part != WHOLE else []
    marks += [f"the first one's {part_text(member.first_part)}"] if member.first_part != WHOLE else []
    return [mark for mark in marks if mark]


def _record(member: Member, opened: Opened, keeping: Keeping) -> dict[str, Any]:
    """A picture of a group for JSON."""
    from ..search.turning import TURNS
    from ..search.windows import part_record

    seen = keeping.measured[member.path]
    return {
        "path": str(member.path),
        "distance": member.distance,
        "bytes": member.size,
        "width": None if seen is None else seen.width,
        "height": None if seen is None else seen.height,
        "code": "stored" if _stored(member, opened.first) else "pixels",
        "turned": TURNS[member.turn] or None,
        "part": part_record(member.part),
        "first_part": part_record(member.first_part),
        **({"source": member.source} if opened.other is not None else {}),
    }


def _line(member: Member, first: bool, opened: Opened, keeping: Keeping) -> str:
    """A picture of a group for people."""
    seen, side = keeping.measured[member.path], ""
    if opened.other is not None:
        side = ("< ", "> ")[member.source]
    size = [] if seen is None else [f"{seen.width} x {seen.height}"]
    remarks = ", ".join([*size, size_text(member.size), *_marks(member, opened)])
    return f"{'keep' if first else f'{member.distance:4d}'}  {side}{shown(member.path)}  ({remarks})"


def tell_found(
    opened: Opened, found: list[list[Member]], keeping: Keeping, radius: int, windows: int | None, *, as_json: bool
) -> str:
    """All groups, what was too flat, and how many there are -> that last line. radius, windows: as of `groups`."""
    for number, members in enumerate(found, 1):
        if as_json:
            keep, *others = (str(member.path) for member in members)
            records = [_record(member, opened, keeping) for member in members]
            emit_json({"event": "group", "group": number, "keep": keep, "others": others, "pictures": records})
        else:
            say(f"group {number}", *(_line(one, one is members[0], opened, keeping) for one in members))
    count, pictures = sum(map(len, found)), sum(map(len, opened.indexes))
    groups_text, bits = f"{len(found)} group{'s' * (len(found) != 1)}", opened.first.n_bits
    summary = f"{groups_text} of {count} pictures among {pictures}, at most {radius} of {bits} bits from the first"
    summary += f", {windows} by windows" if windows is not None else ""
    if as_json:
        if keeping.flat:
            emit_json({"event": "flat", "pictures": [{"path": str(o.path), "bytes": o.size} for o in keeping.flat]})
        counts = {"groups": len(found), "in_groups": count, "flat": len(keeping.flat), "pictures": pictures}
        distances = {"max_distance": radius, "max_window_distance": windows}
        emit_json({"event": "summary", **counts, "keep": keeping.rule, **distances, "bits": bits})
    else:
        if keeping.flat:
            say("too flat to tell", *(f"      {shown(one.path)}  ({size_text(one.size)})" for one in keeping.flat))
        say(summary)
    return summary


def _chosen(member: Member, opened: Opened) -> Chosen:
    from ..search.moving import Chosen

    return Chosen(member.path, member.size, member.modified, opened.roots[member.source])


def pairs_of(found: list[list[Member]], keeping: Keeping, opened: Opened) -> list[tuple[Chosen, Chosen]]:
    """What is kept and what is not. Pictures of the folder to compare with stay, and so does what cannot be read."""
    pairs = []
    for first, *others in found:
        if keeping.measured[first.path] is not None:
            kept = _chosen(first, opened)
            movable = [one for one in others if one.source == 0 and keeping.measured[one.path] is not None]
            pairs += [(kept, _chosen(one, opened)) for one in movable]
    return pairs


def write_page(
    page: Path,
    note: str,
    opened: Opened,
    found: list[list[Member]],
    keeping: Keeping,
    *,
    device: str,
    jobs: int,
    force: bool,
) -> None:
    """A page of all groups with a box for each picture; those that would be moved are ticked."""
    from ..search.gallery import Tile, Wall, write_gallery

    walls = []
    movable = {other.path for _, other in pairs_of(found, keeping, opened)}
    for number, members in enumerate(found, 1):
        farthest = max(member.distance for member in members)
        apart = f"up to {farthest} bit{'s' * (farthest != 1)} apart" if farthest else "the same code"
        tiles = [
            Tile(
                one.path,
                one.distance if place else None,
                remarks=tuple(_marks(one, opened)),
                part=one.part,
                choice=_chosen(one, opened) if keeping.measured[one.path] is not None else None,
                ticked=one.path in movable,
            )
            for place, one in enumerate(members)
        ]
        walls.append(Wall(f"Group {number}", f"{len(members)} pictures, {apart}", tiles))
    if keeping.flat:
        note = f"{note}; {len(keeping.flat)} pictures were too flat to tell"
    decode = decoder(device)
    left_out = write_gallery(
        page, "Duplicates", note, walls, decode=decode, jobs=jobs, overwrite=force, roots=opened.roots
    )
    if left_out:
        notice(f"{page}: {left_out} pictures did not fit on the page")
