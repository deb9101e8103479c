"""What a sync would do to an index: what is new, what is gone, and what is kept because nobody could look at it."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..contracts import UsageError
from ..data.folders import Walk
from ..index.hash_index import HashIndex
from .pictures import Failure, Found, found_of, list_pictures, path_of, picture_walk

ALLOW = "--allow-empty"


@dataclass
class SyncPlan:
    """found: every picture there is. fresh: those of them to be hashed. gone: ids to be dropped. unseen: ids that are
    kept because nobody could look whether their files are there. failures: why, folder by folder, and what else could
    not be looked at."""

    walk: Walk
    found: list[Found] = field(default_factory=list)
    fresh: list[Found] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def check(self, index: HashIndex) -> None:
        """Raises UsageError if more than half of the entries would go."""
        if 2 * len(self.gone) > len(index):
            raise UsageError(
                f"{index.root}: {len(self.gone)} of the {len(index)} pictures in the index are not there; nothing was "
                f"changed ({ALLOW} drops them, --dry-run lists them)"
            )


def stamps_of(index: HashIndex) -> dict[str, tuple[int, int]]:
    """Id -> modification time in ns and size of the file when it was hashed."""
    held = index.snapshot()
    if held.stamps is None:
        return {}
    return dict(zip(held.ids.tolist(), map(tuple, held.stamps.tolist()), strict=True))


def plan_sync(index: HashIndex, *, allow_empty: bool = False) -> SyncPlan:
    """Compare an index with its folder, and with the files outside it that were added.

    An entry is gone only if its folder was seen without it. It is kept, with a failure that says so, if its folder or
    one above could not be read, or, unless ``allow_empty``, if its folder has nothing in it, as a mount point has that
    nothing is mounted on, or is itself not there and outside the index's root. Raises UsageError if the root is not
    there.
    """
    if not index.has_paths or not index.root:
        raise UsageError("the index is of no folder that it could be brought up to date with")
    walk = picture_walk()
    found, failures = list_pictures(Path(index.root), index.root, walk)
    plan = SyncPlan(walk, found, failures=failures)
    stamps = stamps_of(index)
    present = {picture.id for picture in found}
    _settle(plan, index, [name for name in index.ids.tolist() if name not in present], allow_empty)
    plan.fresh = [picture for picture in plan.found if stamps.get(picture.id) != picture.stamp]
    return plan


def _settle(plan: SyncPlan, index: HashIndex, missing: Sequence[str], allow_empty: bool) -> None:
    """What becomes of the entries whose files the walk did not give: hidden ones and those of other suffixes that were
    added by name, further links, files outside the root; and what is not there."""
    closed = {str(one.path) for one in plan.walk.unreadable}
    empty = set() if allow_empty else {str(path) for path in plan.walk.empty}
    kept: Counter[str] = Counter()
    for name in missing:
        path = path_of(name, index.root)
        above = {str(path), *map(str, path.parents)}
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            if above & closed:
                plan.unseen.append(name)
            elif above & empty or (os.path.isabs(name) and not allow_empty and not _holds_anything(path.parent)):
                plan.unseen.append(name)
                kept[str(path.parent)] += 1
            else:
                plan.gone.append(name)
            continue
        except OSError as error:
            plan.unseen.append(name)
            plan.failures.append(Failure(str(path), f"{path}: cannot be read ({error.strerror or error})"))
            continue
        if not stat.S_ISREG(status.st_mode) or plan.walk.has_met(status):
            plan.gone.append(name)
        else:
            plan.found.append(found_of(path, index.root, status))
    for folder, count in kept.items():
        entries = f"{count} picture{'s' * (count != 1)}"
        plan.failures.append(
            Failure(folder, f"{folder}: is empty or not there; its {entries} stay in the index ({ALLOW} drops them)")
        )


def _holds_anything(folder: Path) -> bool:
    """Whether a folder could be looked into and is not empty."""
    try:
        with os.scandir(folder) as listing:
            return next(listing, None) is not None
    except OSError:
        return False
