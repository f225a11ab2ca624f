"""INI files are read as OpenStack services read them, and refused where those would take anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict

from hitless.config import ConfigError, IniFile, Loaded, Multi, load


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Backend(Section):
    volume_driver: str = "lvm"
    target_ip_address: str = ""
    size_gb: int = 10


class Database(Section):
    connection: str = "sqlite://"
    max_pool_size: int | None = None
    ssl: bool = False


class Cinder(Section):
    enabled_backends: list[str] = []
    my_ip: str = "127.0.0.1"
    debug: bool = False
    hosts: list[str] = []
    hooks: Annotated[list[str], Multi()] = []
    database: Database = Database()
    backends: dict[str, Backend] = {}


def read(tmp_path: Path, text: str) -> Loaded[Cinder]:
    path = tmp_path / "cinder.conf"
    path.write_text(text)
    path.chmod(0o644)
    more = tmp_path / "cinder.conf.d"
    return load(Cinder, IniFile(path, tables={"backends": "enabled_backends"}, directory=more))


def refusal(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    return [line.removeprefix(f"{tmp_path}/") for line in str(caught.value).splitlines()]


def test_a_cinder_conf_loads_with_its_backends(tmp_path: Path) -> None:
    loaded = read(
        tmp_path,
        """\
# the host
[DEFAULT]
enabled_backends = lvm-1,
    nfs-1
my_ip : "10.0.0.1"
debug = Yes
hosts = a, b

[database]
connection = mysql://$my_ip/cinder?a=$$b
max_pool_size = 5

[lvm-1]
target_ip_address = ${my_ip}
size_gb = 20
[nfs-1]
volume_driver = nfs:${lvm-1.size_gb}
[old-1]
whatever = is not enabled
""",
    )
    settings = loaded.settings
    assert settings.enabled_backends == ["lvm-1", "nfs-1"]
    assert settings.debug
    assert settings.hosts == ["a", "b"]
    assert settings.database == Database(connection="mysql://10.0.0.1/cinder?a=$b", max_pool_size=5)
    assert settings.backends == {
        "lvm-1": Backend(target_ip_address="10.0.0.1", size_gb=20),
        "nfs-1": Backend(volume_driver="nfs:20"),
    }
    assert loaded.origins["backends.lvm-1.size_gb"].where == f"{tmp_path}/cinder.conf:15"


def test_files_of_the_directory_come_after_the_file_and_before_interpolation(tmp_path: Path) -> None:
    more = tmp_path / "cinder.conf.d"
    more.mkdir()
    for name, text in {
        "10.conf": "[DEFAULT]\nmy_ip = 1.1.1.1\n",
        "20.conf": "[DEFAULT]\nmy_ip = 2.2.2.2\n",
    }.items():
        (more / name).write_text(text)
        (more / name).chmod(0o644)
    loaded = read(tmp_path, "[DEFAULT]\nmy_ip = 0.0.0.0\n[database]\nconnection = $my_ip\n")
    assert loaded.settings.my_ip == "2.2.2.2"
    assert loaded.settings.database.connection == "2.2.2.2"
    assert len(loaded.files) == 3


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("[DEFAULT]\nmy_ip\n", ["cinder.conf:2: expected key = value"]),
        ("my_ip = 1\n", ["cinder.conf:1: stands before the first [section]"]),
        ("[DEFAULT\n", ["cinder.conf:1: a section is written [name]"]),
        (
            "[DEFAULT]\n  x\n",
            ["cinder.conf:2: an indented line goes on with a value, and there is none before it"],
        ),
        (
            "[DEFAULT]\nmy_ip = $nope\n",
            ["cinder.conf:2: my_ip: $nope stands for nothing; there is no such option"],
        ),
        ("[DEFAULT]\nmy_ip = $my_ip\n", ["cinder.conf:2: my_ip: its $ references go in a circle"]),
        ("[DEFAULT]\nenabled_backends = x\n", ["cinder.conf:2: enabled_backends: there is no section [x]"]),
        (
            "[database]\nmax_pool_size = five\n",
            ['cinder.conf:2: database.max_pool_size: expected a whole number, got "five"'],
        ),
        (
            "[DEFAULT]\nenabled_backends = b\n[b]\nsize_gb = x\n",
            ['cinder.conf:4: backends.b.size_gb: expected a whole number, got "x"'],
        ),
        (
            "[database]\nconection = x\n",
            ["cinder.conf:2: database.conection: unknown key; did you mean connection?"],
        ),
        ("[DEFAULT]\ndebug = maybe\n", ['cinder.conf:2: debug: expected true or false, got "maybe"']),
    ],
)
def test_what_oslo_config_lets_through_is_refused_by_line(
    tmp_path: Path, text: str, problems: list[str]
) -> None:
    assert refusal(tmp_path, text) == problems


def test_of_a_key_that_stands_several_times_the_last_counts_or_all_do(tmp_path: Path) -> None:
    settings = read(tmp_path, "[DEFAULT]\nhosts = a\nhosts = b,c\nhooks = a\nhooks = b,c\n").settings
    assert (settings.hosts, settings.hooks) == (["b", "c"], ["a", "b,c"])


def test_defaults_of_the_model_can_be_referred_to(tmp_path: Path) -> None:
    assert (
        read(tmp_path, "[database]\nconnection = db@$my_ip\n").settings.database.connection == "db@127.0.0.1"
    )


def test_references_that_grow_without_measure_are_refused(tmp_path: Path) -> None:
    """Twenty lines that each refer twice to the next would be a million replacements."""
    lines = [f"a{number} = $a{number + 1} $a{number + 1}" for number in range(19)]
    found = refusal(tmp_path, "[DEFAULT]\n" + "\n".join([*lines, "a19 = x", "my_ip = $a0"]) + "\n")
    assert any("my_ip: its $ references grow to more than 1000 replacements" in line for line in found)
    lines = [f"a{number} = $a{number + 1}" for number in range(30)]
    found = refusal(tmp_path, "[DEFAULT]\n" + "\n".join([*lines, "a30 = x", "my_ip = $a0"]) + "\n")
    assert any("my_ip: its $ references go more than 20 deep; write the value out" in line for line in found)
    lines = [f"a{number} = {'$long ' * 10}" for number in range(30)]
    found = refusal(tmp_path, f"[DEFAULT]\nlong = {'x' * 100_000}\n" + "\n".join(lines) + "\n")
    assert any("the $ references of all values grow to more than 16000" in line for line in found)
    (found,) = refusal(tmp_path, f"[database]\nlong = {'x' * 20_000}\nconnection = {'$long ' * 60}\n")
    assert "database.connection: its $ references grow to more than" in found or "connection: its $" in found
