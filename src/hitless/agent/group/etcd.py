"""A group that meets in etcd (`etcd3+http://127.0.0.1:2379`): all below `/hitless/groups/NAME/`, through etcd's JSON gateway.

Registers are keys with a lease, and a lease that has run out is never there again. Every look is one read at one revision that a
majority of the cluster agrees on.
"""

from __future__ import annotations

import ssl
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any, Final

from pydantic import ValidationError

from hitless.agent.group.coordinator import LeaseLost, Sight, Unreachable
from hitless.agent.group.member import Register
from hitless.agent.group.record import Record
from hitless.config.etcd import EtcdError, Gateway

ROOT: Final = "/hitless/groups"


class Etcd:
    def __init__(
        self,
        endpoints: Sequence[str],
        group: str,
        *,
        lease_s: float,
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`lease_s` is rounded up to whole seconds: etcd has no others."""
        self._gateway: Final = Gateway(endpoints, timeout_s, tls)
        self._prefix: Final = f"{ROOT}/{group}"
        self._ttl: Final = max(1, int(-(-lease_s // 1)))
        self._lease: str | None = None
        self._said: Register | None = None

    @property
    def lease_s(self) -> float:
        return float(self._ttl)

    def join(self, register: Register) -> None:
        self._lease = str(self._ask("/v3/lease/grant", {"TTL": str(self._ttl)})["ID"])
        self._say(register)

    def renew(self, register: Register) -> None:
        if self._lease is None:
            raise LeaseLost(f"{register.member.name} has no lease")
        answer = self._ask("/v3/lease/keepalive", {"ID": self._lease})
        if int(answer.get("result", {}).get("TTL", 0)) <= 0:
            raise LeaseLost(f"the lease of {register.member.name} has run out")
        if register != self._said:
            self._say(register)

    def leave(self) -> None:
        lease, self._lease, self._said = self._lease, None, None
        if lease is not None:
            self._ask("/v3/lease/revoke", {"ID": lease})

    def look(self) -> Sight:
        try:
            reading = self._gateway.ask("/v3/kv/range", _below(f"{self._prefix}/group/"))
        except EtcdError as error:
            raise Unreachable(str(error)) from error
        record, version, registers, key = Record(), 0, {}, ""
        try:
            for pair in reading.get("kvs", ()):
                key, value = b64decode(pair["key"]).decode(), b64decode(pair.get("value", ""))
                if key == self._key("record"):
                    record, version = Record.model_validate_json(value), int(pair["mod_revision"])
                else:
                    register = Register.model_validate_json(value)
                    registers[register.member.id] = register
        except (ValidationError, UnicodeDecodeError) as error:
            why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            told = f"what is below {self._prefix} in etcd is not a group: {key}: {why}"
            raise Unreachable(told) from error
        return Sight(record, version, registers)

    def write(self, record: Record, version: int) -> bool:
        return self._put_if("MOD", str(version), self._key("record"), record.model_dump_json())

    def put(self, config: str, text: str) -> None:
        self._ask(
            "/v3/kv/put", {"key": _encoded(f"{self._prefix}/configs/{config}"), "value": _encoded(text)}
        )

    def get(self, config: str) -> str | None:
        answer = self._ask("/v3/kv/range", {"key": _encoded(f"{self._prefix}/configs/{config}")})
        found = answer.get("kvs", ())
        return b64decode(found[0].get("value", "")).decode(errors="replace") if found else None

    def close(self) -> None:
        pass

    def _say(self, register: Register) -> None:
        key, value = self._key(f"members/{register.member.id}"), register.model_dump_json()
        request = {"key": _encoded(key), "value": _encoded(value), "lease": self._lease}
        try:
            self._gateway.ask("/v3/kv/put", request)
        except EtcdError as error:
            if "lease not found" in str(error):
                raise LeaseLost(f"the lease of {register.member.name} has run out") from error
            raise Unreachable(str(error)) from error
        self._said = register

    def _put_if(self, target: str, revision: str, key: str, value: str) -> bool:
        compare = {"target": target, "result": "EQUAL", "key": _encoded(key), "mod_revision": revision}
        put = {"request_put": {"key": _encoded(key), "value": _encoded(value)}}
        answer = self._ask("/v3/kv/txn", {"compare": [compare], "success": [put]})
        return bool(answer.get("succeeded"))

    def _key(self, name: str) -> str:
        return f"{self._prefix}/group/{name}"

    def _ask(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._gateway.ask(path, request)
        except EtcdError as error:
            raise Unreachable(str(error)) from error


def _below(prefix: str) -> dict[str, str]:
    return {"key": _encoded(prefix), "range_end": _encoded(prefix[:-1] + "0")}


def _encoded(text: str) -> str:
    return b64encode(text.encode()).decode()
