"""Installs a release of the image store on a node: a folder with its code, its migrations and an interpreter of its own.

    python install.py RELEASE HOME

HOME/current points to the release that is started next. What is installed is complete or not there, so the command can be
run again after a crash at any moment.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHARED = "imagefleet"
SETTINGS = """\
# hitless db of release {release}
url = "file:{url}"
service = "imagestore"
migrations = "migrations"

[sessions]
name = "imagestore/{{release}}"

[heartbeat]
required = true

[backup]
folder = "{backups}"
"""


def install(release: str, home: Path) -> Path:
    """The folder of the release.

    Raises:
        LookupError: there is no such release.
    """
    number = _number(release)
    folder = home / "releases" / release
    if not folder.exists():
        part = folder.with_name(f".{release}.{os.getpid()}")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _lay(number, part, home)
        part.rename(folder)
    link = home / f".current.{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(folder)
    link.replace(home / "current")
    return folder


def _lay(number: int, folder: Path, home: Path) -> None:
    shutil.copytree(HERE / SHARED, folder / SHARED, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(HERE / "releases" / f"{number}.py", folder / SHARED / "release.py")
    for file in (HERE / "migrations").glob("*/*.py"):
        if int(file.name.partition("_")[0]) <= number:
            target = folder / file.relative_to(HERE)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    settings = folder / "hitless-db.toml"
    settings.write_text(SETTINGS.format(release=number, url=home / "database-url", backups=home / "backups"))
    settings.chmod(0o600)
    _interpreter(folder / "venv")


def _interpreter(folder: Path) -> None:
    """Its own, with the libraries of the one that installs: a real release would bring them."""
    venv.create(folder, symlinks=True, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}, scheme="venv"))
    libraries = sysconfig.get_path("purelib")
    (site / "libraries.pth").write_text(f"import site; site.addsitedir({libraries!r})\n")


def _number(release: str) -> int:
    known = sorted(file.stem for file in (HERE / "releases").glob("*.py"))
    if release not in known:
        raise LookupError(f"there is no release {release}; there are: {', '.join(known)}")
    return int(release)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: install.py RELEASE HOME")
    try:
        print(install(sys.argv[1], Path(sys.argv[2]).resolve()))
    except LookupError as error:
        sys.exit(str(error))
