"""Who can write the configuration can run code; and whatever lies under its name, the service does not choke on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tests.config.models import Settings

from hitless.config import ConfigError, TomlFile, load

ROOT = Path(__file__).parents[2]
Write = Callable[[str], Path]


def refusal(path: Path, *, allow_writable: bool = False) -> str:
    with pytest.raises(ConfigError) as caught:
        load(Settings, TomlFile(path, allow_writable=allow_writable))
    text = str(caught.value)
    assert text.startswith(str(path))
    return text.removeprefix(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": is empty"),
        (b" \n\n", ": is empty"),
        (b'app = "x"\n\n\0\0\0', ":3: has a NUL byte"),
        (b'app = "x"\nname = "\xff"', ":2: is not UTF-8"),
        (b'\xef\xbb\xbfapp = "x"', ": begins with a byte order mark"),
        (b"a = 1 " * 1_000_000, ": is larger than 4 MiB"),
        (b"# nothing but a comment\n", ": app: is required"),
    ],
)
def test_content_that_is_no_configuration_is_refused_in_words(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "service.toml"
    path.write_bytes(content)
    path.chmod(0o600)
    assert refusal(path).startswith(message)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nothing.toml") == ": does not exist"
    assert refusal(tmp_path / ("x" * 300)).startswith(": cannot be read: File name too long")
    (tmp_path / "loop").symlink_to("loop")
    assert refusal(tmp_path / "loop").startswith(": cannot be read: Too many levels of symbolic links")
    (tmp_path / "dir").mkdir()
    assert refusal(tmp_path / "dir") == ": is a directory, not a file"
    assert refusal(tmp_path / "a\0b") == ": is no path: it has a NUL character in it"


@pytest.mark.timeout(10)
def test_a_fifo_without_a_writer_does_not_hang_the_service(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert refusal(tmp_path / "fifo") == ": is not a regular file"


@pytest.mark.timeout(10)
def test_an_endless_device_is_refused() -> None:
    assert refusal(Path("/dev/zero")) == ": is not a regular file"


@pytest.mark.parametrize(("mode", "who"), [(0o664, "its group"), (0o646, "everybody"), (0o666, "everybody")])
def test_a_file_that_others_may_write_is_refused_and_told_how_to_mend_it(
    write: Write, mode: int, who: str
) -> None:
    path = write('app = "x"')
    path.chmod(mode)
    assert (
        refusal(path) == f": may be written by {who}; run: chmod go-w {path}, or start with --allow-writable"
    )
    assert load(Settings, TomlFile(path, allow_writable=True)).settings.app == "x"
    subprocess.run(["chmod", "go-w", path], check=True)
    assert load(Settings, TomlFile(path)).settings.app == "x"


def test_a_file_in_a_directory_that_others_may_write_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "open"
    directory.mkdir()
    path = directory / "service.toml"
    path.write_text('app = "x"')
    path.chmod(0o600)
    directory.chmod(0o777)
    message = f": is in the directory {directory}, which others may write; run: chmod go-w {directory}"
    assert refusal(path).startswith(message)
    directory.chmod(0o1777)  # as /tmp: nobody may replace what is another's
    assert load(Settings, TomlFile(path)).settings.app == "x"


def test_a_link_is_as_safe_as_what_it_leads_to(tmp_path: Path) -> None:
    target, directory = tmp_path / "target.toml", tmp_path / "open"
    directory.mkdir()
    target.write_text('app = "x"')
    target.chmod(0o644)
    link = tmp_path / "service.toml"
    link.symlink_to(target)
    assert load(Settings, TomlFile(link)).settings.app == "x"
    (directory / "moved.toml").write_text('app = "x"')
    directory.chmod(0o777)
    link.unlink()
    link.symlink_to(directory / "moved.toml")
    assert "which others may write" in refusal(link)


@pytest.mark.root
def test_a_file_of_another_user_is_refused(write: Write) -> None:
    path = write('app = "x"')
    os.chown(path, 12345, 12345)
    assert refusal(path) == (
        f": belongs to uid 12345, who may change it; run: chown 0 {path}, or start with --allow-writable"
    )


@pytest.mark.root
def test_another_user_may_use_a_file_of_root_but_not_read_a_private_one(public_path: Path) -> None:
    path = public_path / "service.toml"
    path.write_text('app = "x"')
    path.chmod(0o644)
    script = (
        "import os, sys\n"
        "from hitless.config import ConfigError, TomlFile, load\n"
        "from tests.config.models import Settings\n"
        "os.setgid(12345); os.setuid(12345)\n"
        "try: print(load(Settings, TomlFile(sys.argv[1])).settings.app)\n"
        "except ConfigError as error: print(error)\n"
    )

    def as_another_user() -> str:
        command = [sys.executable, "-c", script, path]
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.strip()

    assert as_another_user() == "x"
    path.chmod(0o600)
    assert as_another_user() == f"{path}: may not be read by uid 12345"


@pytest.mark.root
def test_a_directory_that_is_mounted_read_only_is_safe_as_a_config_map_is(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0777", "tmpfs", mount], check=True)
    try:
        path = mount / "service.toml"
        path.write_text('app = "x"')
        path.chmod(0o644)
        assert "which others may write" in refusal(path)
        subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
        assert load(Settings, TomlFile(path)).settings.app == "x"
    finally:
        subprocess.run(["umount", mount], check=True)


def test_reading_leaks_no_descriptors(write: Write, tmp_path: Path) -> None:
    path = write('app = "x"')
    path.chmod(0o666)
    before = psutil.Process().num_fds()
    for _ in range(50):
        refusal(path)
        refusal(tmp_path)
    assert psutil.Process().num_fds() == before
