"""Secrets that were seen in settings are in no message, however many there have been."""

from __future__ import annotations

from hitless.config.plain import Leaf
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
