"""Whether code has changed is told from the files of what is imported, and in doubt it has."""

from __future__ import annotations

import importlib
import os
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitless.serve.code import Code

LONG_AGO = (1_000_000_000, 1_000_000_000)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path, whose modules are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder: Path, name: str) -> str:
    path = folder / f"{name}.py"
    path.write_text("X = 1\n")
    os.utime(path, LONG_AGO)
    return str(path)


def changed(code: Code, folder: Path) -> set[str]:
    """Of the test's own files: others may be installed meanwhile."""
    return {path for path in code.changed() if path.startswith(str(folder))}


def test_a_file_that_is_replaced_written_removed_or_touched_has_changed(folder: Path) -> None:
    names = ("kept", "replaced", "written", "removed", "touched")
    paths = {name: write(folder, f"code_{name}") for name in names}
    code = Code()
    for name in names:
        importlib.import_module(f"code_{name}")
    code.note()
    assert changed(code, folder) == set()
    (folder / "draft").write_text("X = 2\n")
    os.utime(folder / "draft", LONG_AGO)
    (folder / "draft").rename(paths["replaced"])
    Path(paths["written"]).write_text("X = 22\n")
    Path(paths["removed"]).unlink()
    os.utime(paths["touched"])
    assert changed(code, folder) == {paths[name] for name in names if name != "kept"}


def test_what_is_written_while_it_is_imported_may_be_either_and_counts_as_changed(folder: Path) -> None:
    path = write(folder, "code_unsure")
    code = Code()
    Path(path).write_text("X = 2\n")
    os.utime(path, (2_000_000_000, 4_000_000_000))
    importlib.import_module("code_unsure")
    code.note()
    assert changed(code, folder) == {path}


def test_a_module_that_is_imported_later_is_unchanged_only_if_it_was_there_before(folder: Path) -> None:
    write(folder, "code_early")
    code = Code()
    code.note()
    began = time.time_ns()
    late = write(folder, "code_late")  # deployed since, with an old time of modification
    while Path(late).stat().st_ctime_ns < began:  # the file system's clock is a little behind
        os.utime(late, LONG_AGO)
    importlib.import_module("code_early")
    importlib.import_module("code_late")
    assert late in changed(code, folder)


def test_modules_in_an_archive_are_as_old_as_the_archive(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = folder / "code.zip"

    def pack() -> None:
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("code_packed.py", "X = 1\n")

    pack()
    os.utime(archive, LONG_AGO)
    monkeypatch.syspath_prepend(str(archive))
    code = Code()
    importlib.import_module("code_packed")
    code.note()
    assert changed(code, folder) == set()
    pack()
    assert len(changed(code, folder)) == 1


def test_files_that_are_no_modules_can_be_part_of_the_code(folder: Path) -> None:
    path = write(folder, "paste")
    code = Code()
    code.note(path)
    os.utime(path)
    assert changed(code, folder) == {path}
