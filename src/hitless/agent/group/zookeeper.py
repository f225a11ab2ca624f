"""A group that meets in ZooKeeper (`zookeeper://127.0.0.1:2181`): membership by tooz, the record by versions of one node.

A session that has run out never comes back, and its nodes are gone. The server decides how long it lasts: what was asked for is
brought within its minSessionTimeout and maxSessionTimeout, and what it said is what counts here.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from kazoo.exceptions import BadVersionError, KazooException, NodeExistsError, NoNodeError
from pydantic import ValidationError
from tooz import ToozError
from tooz.coordination import GroupAlreadyExist, GroupNotCreated, MemberNotJoined, get_coordinator

from hitless.agent.group.coordinator import LeaseLost, Sight, Unreachable
from hitless.agent.group.member import Register
from hitless.agent.group.record import Record

ROOT: Final = "/hitless/groups"
NEVER: Final = b""
"""Of a coordinator that only looks: it joins no group."""


class ZooKeeper:
    def __init__(self, url: str, group: str, *, lease_s: float, timeout_s: float) -> None:
        self._url: Final = url
        self._group: Final = f"hitless.{group}".encode()
        self._root: Final = f"{ROOT}/{group}"
        self._timeout_s: Final = timeout_s
        self._asked_s: Final = lease_s
        self._session_s = lease_s
        self._tooz: Any = None
        self._member = NEVER

    @property
    def lease_s(self) -> float:
        return self._session_s

    def join(self, register: Register) -> None:
        self.close()
        self._member = register.member.id.encode()
        tooz = self._connected()
        with _told(self._url):
            tooz.join_group(self._group, register.model_dump(mode="json")).get(self._timeout_s)

    def renew(self, register: Register) -> None:
        if self._tooz is None:
            raise LeaseLost(f"{register.member.name} has no session")
        with _told(self._url, lost=f"the session of {register.member.name} has run out"):
            capabilities = register.model_dump(mode="json")
            self._tooz.update_capabilities(self._group, capabilities).get(self._timeout_s)

    def leave(self) -> None:
        self.close()

    def look(self) -> Sight:
        tooz = self._connected()
        with _told(self._url):
            members = tooz.get_members_with_capabilities(self._group).get(self._timeout_s)
            found = self._read("record")
        try:
            registers = [Register.model_validate(each) for each in members.values() if each is not None]
            record = Record() if found is None else Record.model_validate_json(found[0])
        except ValidationError as error:
            raise Unreachable(f"what is below {self._root} in ZooKeeper is not a group: {error}") from error
        # Versions of nodes begin at 0, which stands for no record here.
        version = 0 if found is None else found[1].version + 1
        return Sight(record, version, {each.member.id: each for each in registers})

    def write(self, record: Record, version: int) -> bool:
        path, value = f"{self._root}/record", record.model_dump_json().encode()
        client = self._connected()._coord
        with _told(self._url):
            try:
                if version == 0:
                    client.create_async(path, value, makepath=True).get(timeout=self._timeout_s)
                else:
                    client.set_async(path, value, version=version - 1).get(timeout=self._timeout_s)
            except (BadVersionError, NodeExistsError):
                return False
        return True

    def put(self, config: str, text: str) -> None:
        client = self._connected()._coord
        with _told(self._url):
            try:
                create = client.create_async(f"{self._root}/configs/{config}", text.encode(), makepath=True)
                create.get(timeout=self._timeout_s)
            except NodeExistsError:
                pass  # by its hash: it is the same

    def get(self, config: str) -> str | None:
        self._connected()
        with _told(self._url):
            found = self._read(f"configs/{config}")
        return None if found is None else bytes(found[0]).decode(errors="replace")

    def close(self) -> None:
        tooz, self._tooz = self._tooz, None
        if tooz is not None:
            try:
                tooz.stop()
                tooz._coord.close()
            except (ToozError, KazooException, tooz._timeout_exception):
                pass  # the session ends by itself

    def _read(self, name: str) -> tuple[bytes, Any] | None:
        try:
            found: tuple[bytes, Any] = self._tooz._coord.get_async(f"{self._root}/{name}").get(
                timeout=self._timeout_s
            )
        except NoNodeError:
            return None
        return found

    def _connected(self) -> Any:
        """Raises Unreachable."""
        if self._tooz is None:
            with _told(self._url):
                tooz: Any = get_coordinator(self._url, self._member or b"observer", timeout=self._asked_s)
                tooz.timeout = self._timeout_s  # for the start; the session's was given to the client
                self._note_session(tooz._coord._connection)
                try:
                    tooz.start()
                    with suppress(GroupAlreadyExist):
                        tooz.create_group(self._group).get(self._timeout_s)
                except BaseException:
                    tooz._coord.stop()
                    tooz._coord.close()
                    raise
                self._tooz = tooz
        return self._tooz

    def _note_session(self, connection: Any) -> None:
        """The client keeps what the server has said about the session to itself: its read timeout is two thirds of that, in ms."""
        connect = connection._connect

        def noted(*arguments: Any, **more: Any) -> Any:
            timeouts = connect(*arguments, **more)
            self._session_s = timeouts[0] * 1.5 / 1000
            return timeouts

        connection._connect = noted


class _told:
    """`with` it: what ZooKeeper and its client raise is told as this package's errors."""

    def __init__(self, url: str, *, lost: str = "") -> None:
        self._url: Final = url.rpartition("@")[2]
        self._lost: Final = lost

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if self._lost and isinstance(error, (MemberNotJoined, GroupNotCreated)):
            raise LeaseLost(self._lost) from error
        # kazoo's timeouts are of a class of their own that derives from Exception only.
        if isinstance(error, (ToozError, KazooException, OSError)) or "Timeout" in type(error).__name__:
            raise Unreachable(
                f"ZooKeeper at {self._url} did not answer: {error or type(error).__name__}"
            ) from error
