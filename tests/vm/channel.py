"""Speaks JSON lines over a socket: with the agent in the guest (virtio-serial) and with QEMU itself (QMP)."""

from __future__ import annotations

import base64
import itertools
import json
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.vm.console import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHUNK = 1 << 17  # bytes of a file in one request

Message = dict[str, Any]


class NoAnswer(AssertionError):
    """The other side did not answer in time."""


class Gone(AssertionError):
    """The other side has closed its end: QEMU is no more."""


class Refused(AssertionError):
    """The other side answered that it could not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A command that ended in the guest."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str


class Lines:
    """One JSON object a line, both ways; receive() waits no longer than its deadline."""

    def __init__(self, ours: socket.socket) -> None:
        self._socket = ours
        self._buffer = b""

    def send(self, message: Message, *, within: float = 60) -> None:
        self._socket.settimeout(within)
        try:
            # The leading newline ends whatever a crash left unfinished on the way.
            self._socket.sendall(b"\n" + json.dumps(message).encode() + b"\n")
        except TimeoutError:
            raise NoAnswer("nobody reads the channel") from None
        except OSError as problem:
            raise Gone(f"the machine is gone ({problem})") from None

    def receive(self, deadline: float) -> Message:
        """The next object; raises NoAnswer at the deadline (monotonic seconds), Gone at the end."""
        while True:
            while b"\n" in self._buffer:
                line, self._buffer = self._buffer.split(b"\n", 1)
                try:
                    message = json.loads(line)
                except ValueError:
                    continue  # half a line from before a crash
                if isinstance(message, dict):
                    return message
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise NoAnswer("no answer in time")
            self._socket.settimeout(remaining)
            try:
                chunk = self._socket.recv(1 << 18)
            except TimeoutError:
                raise NoAnswer("no answer in time") from None
            except OSError as problem:
                raise Gone(f"the machine is gone ({problem})") from None
            if not chunk:
                raise Gone("the machine is gone")
            self._buffer += chunk

    def close(self) -> None:
        self._socket.close()


class Agent:
    """The commands' way into the guest; `boot` is the boot id it said last ("" before the first word)."""

    def __init__(self, ours: socket.socket) -> None:
        self._lines = Lines(ours)
        # Ids must not meet those of a snapshot's past: begin where no earlier process began.
        self._ids = itertools.count(time.time_ns())
        self.boot = ""

    def hello(self, *, timeout: float, other_than: str = "") -> str:
        """The guest's boot id, once it answers with one that is not `other_than`.

        Asked again each second: what is sent between a panic and the next kernel's driver is lost."""
        deadline = time.monotonic() + timeout * PATIENCE
        while time.monotonic() < deadline:
            again = min(deadline, time.monotonic() + 1)
            try:
                # While nobody has the port open QEMU reads nothing, and what was asked in vain fills the way to it.
                self._lines.send({"id": next(self._ids), "hello": True}, within=1)
                while True:
                    answer = self._lines.receive(again)
                    if "boot" in answer and answer["boot"] != other_than:
                        self.boot = str(answer["boot"])
                        return self.boot
            except NoAnswer:
                continue
        raise NoAnswer(f"the guest's agent did not answer within {timeout * PATIENCE:.0f} s")

    def ask(self, request: Message, *, timeout: float) -> Message:
        """One request, its answer; raises NoAnswer, Gone, or Refused if the guest says it could not."""
        number = next(self._ids)
        self._lines.send({"id": number, **request})
        deadline = time.monotonic() + timeout * PATIENCE
        while True:
            answer = self._lines.receive(deadline)
            if answer.get("id") != number:
                continue
            if "failed" in answer:
                raise Refused(str(answer["failed"]))
            return answer

    def tell(self, request: Message) -> None:
        """A request whose answer is not awaited, as for the command that crashes the machine."""
        self._lines.send({"id": next(self._ids), **request})

    def run(self, argv: tuple[str, ...], *, stdin: bytes, timeout: float) -> Ran:
        request = {"run": list(argv), "stdin": base64.b64encode(stdin).decode()}
        answer = self.ask(request, timeout=timeout)
        return Ran(
            argv=argv,
            status=int(answer["status"]),
            stdout=base64.b64decode(answer["stdout"]).decode("utf-8", "replace"),
            stderr=base64.b64decode(answer["stderr"]).decode("utf-8", "replace"),
        )

    def put(self, path: str, data: bytes, *, mode: int) -> None:
        for offset in range(0, max(len(data), 1), _CHUNK):
            piece = base64.b64encode(data[offset : offset + _CHUNK]).decode()
            self.ask({"put": path, "data": piece, "offset": offset, "mode": mode}, timeout=60)

    def get(self, path: str) -> bytes:
        data = b""
        while True:
            answer = self.ask({"get": path, "offset": len(data), "length": _CHUNK}, timeout=60)
            data += base64.b64decode(answer["data"])
            if len(data) >= int(answer["size"]):
                return data

    def close(self) -> None:
        self._lines.close()


class Qmp:
    """QEMU's own monitor."""

    def __init__(self, ours: socket.socket) -> None:
        self._lines = Lines(ours)
        self._events: list[Message] = []
        self._lines.receive(time.monotonic() + 60)  # the greeting
        self.ask("qmp_capabilities")

    def ask(self, command: str, arguments: Mapping[str, object] | None = None, *, timeout: float = 60) -> Any:
        """Runs one command and gives its "return"; raises Refused with QEMU's own words."""
        self._lines.send({"execute": command, "arguments": dict(arguments or {})})
        deadline = time.monotonic() + timeout * PATIENCE
        while True:
            message = self._lines.receive(deadline)
            if "event" in message:
                self._events.append(message)
            elif "error" in message:
                raise Refused(f"{command}: {message['error']['desc']}")
            elif "return" in message:
                return message["return"]

    def monitor(self, line: str, *, timeout: float = 60) -> str:
        """One line for the human monitor, which alone has savevm and loadvm; raises Refused if it complains."""
        said = str(self.ask("human-monitor-command", {"command-line": line}, timeout=timeout))
        if said.strip():
            raise Refused(f"{line}: {said.strip()}")
        return said

    def wait_for(self, event: str, *, timeout: float) -> Message:
        """The next event of that name, taken from those already seen first."""
        deadline = time.monotonic() + timeout * PATIENCE
        while True:
            for seen in self._events:
                if seen["event"] == event:
                    self._events.remove(seen)
                    return seen
            message = self._lines.receive(deadline)
            if "event" in message:
                self._events.append(message)

    def close(self) -> None:
        self._lines.close()
