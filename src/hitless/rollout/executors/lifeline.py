"""The small shell script around every command: it says when it is ready, when the command has ended and how, and it
ends the command when nobody listens any more.

The script is not on any command line (so neither are secrets in the environment): a POSIX `sh` reads it from its
standard input, says `ready`, and begins when it reads `go`. What follows on its input is the command's; then the input
stays open, and its end is the order to end: when the deadline passes, when the connection breaks, and when the process
that asked was killed, the same happens. It is a process group of its own (a session of sshd, or ours) that gets SIGTERM,
and SIGKILL after GRACE_S.

Both outputs carry marks, because a daemon that the command has started may hold them open for ever: waiting for their
end would be waiting for the daemon. The mark also tells the command's exit code from ssh's own 255.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Final

GRACE_S: Final = 2
"""Between SIGTERM and SIGKILL."""
READY: Final = "ready"
ABSENT: Final = "absent"
UNFED: Final = "unfed"
GO: Final = b"go\n"
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_SCRIPT: Final = """\
exec 3<&0 </dev/null 4</dev/null
set -- {words}
mark() {{ printf '\\n%s %s\\n' '{nonce}' "$1" >&2; printf '\\n%s %s\\n' '{nonce}' "$1"; }}
{path}command -v "$1" >/dev/null 2>&1 || {{ mark {absent}; exit 0; }}
mark {ready}
IFS= read -r go <&3 || exit 0
{feed}
{{
  cat <&3 >/dev/null 2>&1
  trap : TERM
  kill -TERM 0
  sleep {grace}
  mark 137
  kill -KILL 0
}} 4<&- &
watcher=$!
late=
trap late=1 HUP INT TERM
(
  {exports}
  exec "$@" <&4 3<&- 4<&-
)
code=$?
[ "$late" ] || kill -KILL "$watcher" 2>/dev/null
mark "$code"
exit 0
"""
# The command runs in the foreground: what a shell runs in the background ignores SIGINT and SIGQUIT for ever.
_FEED: Final = """\
file=$(umask 077; mktemp) && head -c {size} <&3 >"$file" && exec 4<"$file" || {{ rm -f "$file"; mark {unfed}; exit 0; }}
rm -f "$file"
"""
# Through a file, because a pipe that the command does not read would keep the end of our input from being seen.


class Unfit(ValueError):
    """No system could run this: the message says why."""


def script(command: Sequence[str], env: Mapping[str, str], *, nonce: str, stdin_size: int) -> bytes:
    """What the shell reads.

    Raises:
        Unfit: an empty command, NUL bytes, or a name that is no name of a variable.
    """
    check(command, env)
    text = _SCRIPT.format(
        exports="\n  ".join(f"export {name}={shlex.quote(value)}" for name, value in env.items()) or ":",
        words=" ".join(shlex.quote(word) for word in command),
        path=f"PATH={shlex.quote(env['PATH'])} " if "PATH" in env else "",
        nonce=nonce,
        absent=ABSENT,
        ready=READY,
        feed=_FEED.format(size=stdin_size, unfed=UNFED) if stdin_size else "",
        grace=GRACE_S,
    )
    return text.encode(errors="surrogateescape")


def loader(size: int) -> tuple[str, ...]:
    """The command that reads and runs a script of so many bytes; every shell understands it that a user may have."""
    return ("sh", "-c", f'eval "$(dd bs=1 count={size} 2>/dev/null)"')


def check(command: Sequence[str], env: Mapping[str, str]) -> None:
    """That it can be run.

    Raises:
        Unfit: an empty command, NUL bytes, or a name that is no name of a variable.
    """
    if not command or not command[0]:
        raise Unfit("the command is empty")
    if any("\0" in word for word in command):
        raise Unfit(f"the command {command[0]!r} has a NUL byte in it")
    for name, value in env.items():
        if not NAME.fullmatch(name):
            raise Unfit(f"{name!r} cannot be the name of a variable")
        if "\0" in value:
            raise Unfit(f"the variable {name} has a NUL byte in it")
