"""How commands get to nodes, as described in a configuration file; `kind` says how."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from hitless.config import Seconds

OUTPUT_LIMIT: Final = 1_000_000
"""Bytes that are kept of each of a command's outputs."""
CONNECT_S: Final = 15.0
PERSIST_S: Final = 60.0
"""How long a connection to a node that nobody uses stays open."""
PARALLEL: Final = 32


def _words(value: object) -> object:
    """Text, as a shell would take it apart; no shell is started."""
    if isinstance(value, str):
        return tuple(shlex.split(value))
    return tuple(value) if isinstance(value, list) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_words), Field(min_length=1)]
Wait = Annotated[Seconds, Field(gt=0, le=86400)]
Limit = Annotated[int, Field(ge=1024, le=1 << 30)]
AtOnce = Annotated[int, Field(ge=1, le=1024)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class LocalSettings(_Table):
    """Commands run on this machine; a node's address is told to them as HITLESS_ADDRESS."""

    kind: Literal["local"] = "local"
    output: Limit = Field(OUTPUT_LIMIT, description="bytes that are kept of each of a command's outputs")
    parallel: AtOnce = Field(PARALLEL, description="commands at once")


class SshSettings(_Table):
    """Commands run on the nodes by the OpenSSH client, with the operator's own configuration and keys."""

    kind: Literal["ssh"]
    ssh: Words = Field(("ssh",), description="how ssh is run, with further options of it")
    config: str | None = Field(None, description="its configuration file; the operator's own if not set")
    connect: Wait = Field(CONNECT_S, description="for a connection to be made")
    persist: Wait = Field(PERSIST_S, description="how long an unused connection stays open")
    output: Limit = Field(OUTPUT_LIMIT, description="bytes that are kept of each of a command's outputs")
    parallel: AtOnce = Field(PARALLEL, description="commands at once")

    @field_validator("ssh")
    @classmethod
    def _checks_host_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        said = " ".join(value).lower().replace("=", " ").split()
        for option, word in pairwise(said):
            if option.removeprefix("-o") == "stricthostkeychecking" and word in ("no", "off"):
                raise ValueError(
                    "the checking of host keys is not switched off here; put the key into known_hosts"
                )
        return value


class AnsibleSettings(_Table):
    """Commands run on the nodes by ansible, with its inventory."""

    kind: Literal["ansible"]
    inventory: Annotated[str, Field(min_length=1)] = Field(
        description="an inventory that has the nodes by name: a file, a folder or a program"
    )
    vault_password_file: str | None = Field(None, description="file or program with the vault's password")
    become: bool = Field(False, description="whether commands run as become_user")
    become_user: str = Field("root", description="who they run as then")
    config: str | None = Field(None, description="ansible.cfg; ansible's own search if not set")
    variables: Mapping[str, str] = Field({}, description="further variables, as of --extra-vars")
    output: Limit = Field(OUTPUT_LIMIT, description="bytes that are kept of each of a command's outputs")
    parallel: AtOnce = Field(8, description="commands at once; each is a run of ansible")


ExecutorSettings = Annotated[LocalSettings | SshSettings | AnsibleSettings, Field(discriminator="kind")]
