"""nginx's `server` lines in a file, read and rewritten; everything else in it stays as it is.

    upstream web {
        server 127.0.1.1:8080 weight=2;         # n1
        server 127.0.1.2:8080 max_fails=0 down; # n2 (drain)
    }

A server's name is the first word of its line's comment, or its address. Lines of one name are changed together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from hitless.rollout.balancers.balancer import Status

LINE: Final = re.compile(
    r"^(?P<head>\s*server\s+)(?P<address>[^\s;#]+)(?P<words>[^;#]*);[ \t]*(?:#[ \t]*(?P<comment>.*?))?[ \t]*$"
)
SAID: Final = re.compile(r"\s*\((drain|maint)\)$")


def statuses(text: str) -> Mapping[str, Status]:
    """Of every server; one that somebody else has marked `down` is in `maint`. A name of several lines has the status
    of the one that gets most work."""
    found: dict[str, Status] = {}
    for line in text.splitlines():
        match = LINE.match(line)
        if match is None:
            continue
        name, status = _name(match), _status(match)
        order: list[Status] = ["ready", "drain", "maint"]
        found[name] = min(found.get(name, status), status, key=order.index)
    return found


def rewritten(text: str, server: str, status: Status) -> str:
    """The same with another status of the server."""
    lines = text.splitlines(keepends=True)
    return "".join(_line(line, server, status) for line in lines)


def _line(line: str, server: str, status: Status) -> str:
    match = LINE.match(line.rstrip("\n"))
    if match is None or _name(match) != server:
        return line
    words = [word for word in match["words"].split() if word != "down"]
    comment = SAID.sub("", match["comment"] or "")
    if status != "ready":
        words.append("down")
        comment = f"{comment or match['address']} ({status})"
    elif comment == match["address"]:
        comment = ""
    made = match["head"] + " ".join([match["address"], *words]) + ";" + (f" # {comment}" if comment else "")
    return made + line[len(line.rstrip("\n")) :]


def _name(match: re.Match[str]) -> str:
    words = (match["comment"] or "").split()
    return words[0] if words else match["address"]


def _status(match: re.Match[str]) -> Status:
    if "down" not in match["words"].split():
        return "ready"
    said = SAID.search(match["comment"] or "")
    return "drain" if said and said[1] == "drain" else "maint"
