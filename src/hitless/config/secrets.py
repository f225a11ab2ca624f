"""What must not be shown: told by type (SecretStr), by name, or by standing in a URL."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from hitless.change import JSON

MASK: Final = "***"
SHORTEST: Final = 4
"""Characters. Shorter secrets are no secrets, and hiding them would tear ordinary words apart."""
NAME: Final = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|(?:^|[_.-]|PG)PASS(?:$|[_.-])|KEY", re.IGNORECASE
)
URL: Final = re.compile(r"(?<=://)[^\s\"']+")
OPTION: Final = re.compile(r"(?<=[?&])([^=&#?]+)=([^&#]+)")
IN_URL: Final = re.compile(r"(?<=://)[^/?#\s]*@")
"""Who asks, up to the last host: `rabbit://one:secret@host,two:secret@host` is a URL of oslo.messaging."""


@lru_cache(maxsize=4096)  # the keys of large tables are asked for with every change
def is_secret_name(name: str) -> bool:
    """Whether a variable of this name usually holds a secret (`DB_PASSWORD`, `API_KEY`)."""
    return NAME.search(name) is not None


def shown(value: JSON, *, is_secret: bool = False) -> JSON:
    """The value as it may be shown: a secret masked, and so the password in a URL and what its options name as secret."""
    if is_secret:
        return None if value is None else MASK
    if isinstance(value, str):
        value = IN_URL.sub(lambda found: ",".join(map(_masked, found[0].split(","))), value)
        return URL.sub(lambda found: OPTION.sub(_masked_option, found[0]), value)
    if isinstance(value, list):
        return [shown(item) for item in value]
    return value


def without(text: str, secrets: Iterable[str]) -> str:
    """The text with the secrets masked that are in it."""
    for secret in sorted(secrets, key=len, reverse=True):  # one may begin with another
        text = text.replace(secret, MASK)
    return text


def _masked_option(found: re.Match[str]) -> str:
    """`token=...` of a query masked; `clientkey=/path` names a file, and stays."""
    name, value = found.groups()
    return f"{name}={MASK}" if is_secret_name(name) and not value.startswith("/") else found[0]


def _masked(asker: str) -> str:
    """`user:secret@host` with the secret masked; `@` may stand in it."""
    who, at, host = asker.rpartition("@")
    user, colon, _ = who.partition(":")
    return f"{user}{colon}{MASK}{at}{host}" if colon else asker
