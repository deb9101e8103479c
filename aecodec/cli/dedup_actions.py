"""What ``aecodec dedup`` does about pictures, told line by line: moving, linking, putting back, printing a script."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..contracts import UsageError
from .hashing import shown
from .output import emit_json, fail, notice, say, size_text

if TYPE_CHECKING:
    from ..search.moving import Action, Chosen

#: How each action is told of.
_DONE = {"move": "moved", "trash": "moved to the trash", "link": "replaced by links"}


def action_of(move_to: Path | None, trash: bool, link: str | None) -> Action | None:
    """What the options ask for. Raises UsageError if that are two things."""
    if (move_to is not None) + trash + (link is not None) > 1:
        raise UsageError("--move-to, --trash and --link exclude each other")
    from ..search.moving import ToFolder, ToLink, ToTrash

    if move_to is not None:
        return ToFolder(move_to)
    if link is not None:
        return ToLink(symbolic=link == "sym")
    return ToTrash() if trash else None


def act(
    pairs: Sequence[tuple[Chosen, Chosen]],
    action: Action,
    log: Path | None,
    roots: Sequence[Path],
    as_json: bool,
    verify: Callable[[Path], None] = lambda path: None,
) -> int:
    """Deal with the second picture of each pair -> exit code: 1 if one was left where it was."""
    from ..search.moving import exact_copies, perform

    if action.name == "link":
        exact = exact_copies(pairs)
        if len(exact) < len(pairs):
            notice(f"{len(pairs) - len(exact)} of {len(pairs)} pictures are no exact copies, and stay")
        pairs = exact
    log, sizes = log or _new_log(), {other.path: other.size for _, other in pairs}
    code, done, freed = 0, 0, 0
    try:
        for outcome in perform(pairs, action, log, roots, verify):
            if outcome.error is not None:
                fail(outcome.error, {"event": "left", "path": str(outcome.path)} if as_json else None)
                code = 1
                continue
            done, freed = done + 1, freed + sizes[outcome.path]
            if as_json:
                emit_json({"event": "done", "action": action.name, "path": str(outcome.path), "to": str(outcome.to)})
            elif action.name != "trash":
                say(f"{shown(outcome.path)} -> {shown(outcome.to or '')}")
    except BaseException:  # interrupted, or the log cannot be written: what was done is not forgotten
        if done:
            notice(f"{done} pictures were {_DONE[action.name]}; aecodec dedup --undo {shown(log)} puts them back")
        raise
    if as_json:
        name = str(log) if done else None
        emit_json({"event": "acted", "action": action.name, "done": done, "bytes": freed, "log": name})
    elif done:
        say(f"{done} picture{'s' * (done != 1)} {_DONE[action.name]} ({size_text(freed)})")
        say(f"aecodec dedup --undo {shown(log)} puts them back")
    else:
        say("nothing to do")
    return code


def _new_log() -> Path:
    """A file of the working folder that is not there yet."""
    stem = f"dedup-{datetime.now():%Y%m%d-%H%M%S}"
    names = (f"{stem}{f'-{number}' if number else ''}.log" for number in range(1000))
    return next(path for name in names if not os.path.lexists(path := Path(name)))


def tell_script(pairs: Sequence[tuple[Chosen, Chosen]], action: Action) -> None:
    """The commands on stdout, which `say` leaves as they are: they are printable whatever the pictures are called."""
    from ..search.scripting import script

    for line in script(pairs, action):
        say(line)


def apply_choices(path: Path, action: Action | None, log: Path | None, *, script: bool, as_json: bool) -> int:
    """Deal with what a page has saved; without an action, tell what is in it -> exit code."""
    from ..search.choices import pairs_of, read_choices
    from ..search.moving import alone
    from ..search.pictures import check_picture

    roots, choices = read_choices(path)
    pairs = pairs_of(choices)
    if action is None:
        for number, choice in enumerate(choices, 1):
            if as_json:
                kept, others = ([str(one.path) for one in some] for some in (choice.kept, choice.others))
                emit_json({"event": "group", "group": number, "keep": kept, "others": others})
                continue
            lines = [("keep", one) for one in choice.kept] + [("    ", one) for one in choice.others]
            say(f"group {number}", *(f"{mark}  {shown(one.path)}  ({size_text(one.size)})" for mark, one in lines))
        if not as_json:
            say(f"{len(pairs)} pictures of {len(choices)} groups; --move-to, --trash or --link deals with them")
        return 0
    action.check(roots)
    if script:
        tell_script(pairs, action)
        return 0
    with alone(roots):
        return act(pairs, action, log, roots, as_json, check_picture)


def put_back(log: Path, as_json: bool) -> int:
    """Take back all steps of a log -> exit code: 1 if a picture could not be put back."""
    from ..search.undoing import undo

    code, back, there = 0, 0, 0
    for step in undo(log):
        if step.error is not None:
            fail(step.error, {"event": "left", "path": str(step.path)} if as_json else None)
            code = 1
            continue
        back, there = back + step.back, there + (not step.back)
        if as_json:
            emit_json({"event": "undone", "path": str(step.path), "moved": step.back, "remark": step.remark or None})
        elif step.remark:
            notice(f"{step.path}: is in its place; {step.remark}")
    if as_json:
        emit_json({"event": "summary", "log": str(log), "back": back, "in_place": there})
    else:
        say(f"{back} picture{'s' * (back != 1)} put back" + (f", {there} in place already" if there else ""))
    return code
