"""Reading a configuration file: who can write it can run code, so it is looked at before it is believed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from hitless.change import is_out_of_descriptors
from hitless.config.problems import ConfigError, Problem

SIZE_LIMIT: Final = 4 * 1024 * 1024
"""Bytes. Nobody writes such a configuration; somebody names a log file or /dev/zero."""


def read_text(path: Path, *, allow_writable: bool = False) -> str:
    """The text of the file, which is UTF-8 and not empty.

    Raises:
        ConfigError: it cannot be read, is no such file, or others than its owner may change it.
    """
    return _decoded(os.fspath(path), read_content(path, allow_writable=allow_writable))


def read_content(path: Path, *, allow_writable: bool = True) -> bytes:
    """The first SIZE_LIMIT + 1 bytes of a regular file. What is checked is what was opened.

    Raises:
        ConfigError: it cannot be read, is no regular file, or others than its owner may change it.
    """
    name = os.fspath(path)
    try:
        # Not blocking, so that a FIFO without a writer is refused and does not hang the service.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        if is_out_of_descriptors(error):
            raise  # nothing is wrong with the file
        raise _refused(name, _unreadable(error)) from None
    try:
        _check(path, os.fstat(descriptor), allow_writable=allow_writable)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise _refused(name, _unreadable(error)) from None
    finally:
        os.close(descriptor)


def _check(path: Path, found: os.stat_result, *, allow_writable: bool) -> None:
    name = os.fspath(path)
    if stat.S_ISDIR(found.st_mode):
        raise _refused(name, "is a directory, not a file")
    if not stat.S_ISREG(found.st_mode):
        raise _refused(name, "is not a regular file")
    if not allow_writable:
        _check_writers(path, found)


def _check_writers(path: Path, found: os.stat_result) -> None:
    name = os.fspath(path)
    if found.st_uid not in (0, os.geteuid()):
        remedy = f"run: chown {os.geteuid()} {name}, or start with --allow-writable"
        raise _refused(name, f"belongs to uid {found.st_uid}, who may change it; {remedy}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        who = "everybody" if found.st_mode & stat.S_IWOTH else "its group"
        raise _refused(
            name, f"may be written by {who}; run: chmod go-w {name}, or start with --allow-writable"
        )
    for directory in {path.absolute().parent, path.resolve().parent}:
        _check_directory(name, directory)


def _check_directory(name: str, directory: Path) -> None:
    """Who can write the directory can put another file in its place.

    Not in one with the sticky bit, such as /tmp, and not in one that is mounted read-only, as a ConfigMap is.
    """
    found = directory.stat()
    if not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or found.st_mode & stat.S_ISVTX:
        return
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        return
    remedy = f"run: chmod go-w {directory}, or start with --allow-writable"
    raise _refused(name, f"is in the directory {directory}, which others may write; {remedy}")


def _decoded(name: str, content: bytes) -> str:
    if len(content) > SIZE_LIMIT:
        raise _refused(name, f"is larger than {SIZE_LIMIT // 1024 // 1024} MiB")
    if not content.strip():
        raise _refused(name, "is empty; it was perhaps cut off while it was written")
    if content.startswith(b"\xef\xbb\xbf"):
        raise _refused(name, "begins with a byte order mark; save it as UTF-8 without one")
    if (at := content.find(b"\0")) >= 0:
        raise _refused(_at_line(name, content, at), "has a NUL byte; it is damaged, or no text file")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise _refused(_at_line(name, content, error.start), "is not UTF-8") from None


def _at_line(name: str, content: bytes, at: int) -> str:
    line = content.count(b"\n", 0, at) + 1
    return f"{name}:{line}"


def _unreadable(error: OSError | ValueError) -> str:
    if isinstance(error, ValueError):
        return "is no path: it has a NUL character in it"
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, PermissionError):
        return f"may not be read by uid {os.geteuid()}"
    return f"cannot be read: {error.strerror or error}"


def _refused(where: str, message: str) -> ConfigError:
    return ConfigError([Problem(where, "", message)])
