"""A secret may stand in a file of its own, and is shown nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from hitless.config import ConfDirectory, ConfigError, Secret, TomlFile, diff, load
from hitless.config.masked import masked
from hitless.config.plain import read


class Account(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = ""
    password: Secret
    urls: list[str] = []


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    accounts: dict[str, Account] = {}


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_secret_is_read_from_the_file_that_is_named(tmp_path: Path) -> None:
    secret = written(tmp_path / "password", "s3cret!\n")
    file = written(tmp_path / "service.toml", f'[accounts.a]\npassword = "file:{secret}"\n')
    settings = load(Settings, TomlFile(file)).settings
    assert settings.accounts["a"].password.get_secret_value() == "s3cret!"


@pytest.mark.parametrize(
    ("content", "message"), [(None, "does not exist"), ("", "is empty"), ("\n", "is empty")]
)
def test_a_secret_file_that_is_no_good_is_refused_by_the_line_that_names_it(
    tmp_path: Path, content: str | None, message: str
) -> None:
    secret = tmp_path / "password"
    if content is not None:
        written(secret, content)
    file = written(tmp_path / "service.toml", f'[accounts.a]\npassword = "file:{secret}"\n')
    with pytest.raises(ConfigError) as caught:
        load(Settings, TomlFile(file))
    assert str(caught.value).startswith(f"{file}:2: accounts.a.password: the secret file {secret} {message}")


def test_neither_the_difference_nor_what_is_kept_shows_a_secret(tmp_path: Path) -> None:
    def settings(secret: str) -> Settings:
        data = {
            "accounts": {
                "a": {"name": "x", "password": secret, "urls": [f"db://u:{secret}@h"]},
                "b": {"password": ""},
            }
        }
        return Settings.model_validate(data)

    old, new = settings("first-secret"), settings("second-secret")
    data, found = read(new)
    shown = json.dumps([each.to_json() for each in diff(old, new)]) + json.dumps(masked(found, data))
    assert "secret" not in shown
    assert masked(found, data) == {
        "accounts": {
            "a": {"name": "x", "password": "***", "urls": ["db://u:***@h"]},
            "b": {"name": "", "password": "***", "urls": []},
        }
    }


def test_a_directory_is_read_in_the_order_of_names_with_the_place_of_each_value(tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir(mode=0o755)
    written(folder / "10-a.toml", '[accounts.a]\npassword = "one"\nname = "first"\n')
    written(folder / "20-b.yaml", "accounts:\n  a:\n    name: second\n")
    written(folder / "20-b.yaml~", "nonsense")
    written(folder / ".hidden.yaml", "- nonsense")
    loaded = load(Settings, ConfDirectory(folder))
    assert loaded.settings.accounts["a"].name == "second"
    assert loaded.origins["accounts.a.name"].where == f"{folder}/20-b.yaml:3"
    assert loaded.origins["accounts.a.password"].where == f"{folder}/10-a.toml:2"
    written(folder / "30-c.yaml", "accounts: {a: {nme: x}}")
    with pytest.raises(ConfigError, match=r"30-c.yaml:1: accounts.a.nme: unknown key; did you mean name"):
        load(Settings, ConfDirectory(folder))
