"""Secrets are in no message, however many there have been, and whoever tells them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, SecretStr, field_validator, model_validator

from hitless.change import Refused, Status
from hitless.config import Secret, TomlFile
from hitless.config.plain import Leaf
from hitless.live import Runtime
from hitless.live.reading import revived
from hitless.live.veil import REMEMBERED, Veil


def secret(text: str) -> Leaf:
    return Leaf(("password",), text, is_secret=True)


def test_a_secret_that_is_in_use_is_not_forgotten_for_those_that_were_rotated() -> None:
    veil = Veil()
    for number in range(2 * REMEMBERED):
        veil.learn([secret("stays-for-ever"), secret(f"rotated-{number}")])
    assert veil.over("stays-for-ever and rotated-1999 are wrong") == "*** and *** are wrong"


def test_all_secrets_of_one_configuration_are_hidden_however_many() -> None:
    veil = Veil()
    many = [f"secret-{number}-" for number in range(2 * REMEMBERED)]
    veil.learn(secret(each) for each in many)
    assert veil.over(many[0] + many[-1]) == "******"


class Guarded(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    password: Secret
    other: SecretStr = SecretStr("")
    level: str = ""

    @field_validator("password")
    @classmethod
    def _strong(cls, value: SecretStr) -> SecretStr:
        if "weak" in value.get_secret_value():
            raise ValueError(f"{value.get_secret_value()} is too weak")
        return value

    @model_validator(mode="after")
    def _together(self) -> Guarded:
        if self.level == "together":
            raise ValueError(f"{self.other.get_secret_value()} does not go with this level")
        if self.level == "broken":
            raise RuntimeError(f"cannot log in as {self.other.get_secret_value()}")
        return self


@pytest.mark.parametrize(
    "text",
    [
        'password = "weak-sesame"',
        'password = "file:{folder}/secret"',
        'password = "strong"\nother = "sesame"\nlevel = "together"',
        'password = "strong"\nother = "sesame"\nlevel = "broken"',
    ],
)
async def test_a_validator_that_tells_a_secret_is_heard_without_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('password = "strong"')
    (tmp_path / "secret").write_text("weak-sesame\n")
    runtime = Runtime(Guarded)
    await runtime.start(TomlFile(file))
    file.write_text(text.format(folder=tmp_path))
    outcome = await runtime.reload()
    assert outcome.status is Status.REJECTED
    assert "***" in outcome.message
    assert "sesame" not in outcome.message + outcome.detail
    await runtime.stop()


def test_settings_from_another_process_that_are_not_taken_are_refused_without_their_secrets() -> None:
    for settings in (
        {"password": "weak-sesame"},
        {"password": "strong", "other": "sesame", "level": "broken"},
        {"password": "strong", "other": "sesame", "levle": "typo"},
    ):
        with pytest.raises(Refused) as caught:
            revived(Guarded, json.dumps(settings))
        assert "sesame" not in caught.value.message + caught.value.detail
