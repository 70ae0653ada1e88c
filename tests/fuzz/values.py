"""Values of every type as somebody would choose them who wants to see a service fall."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from tests.fuzz.octets import Writer, complete_types

KIB = 1024
DEEPEST = 64
"""Containers within each other that the protocol allows; the bus ends the connection of whoever sends more."""
_DEEPEST_ARRAY = 32

_BASIC = "ybnqiuxtdsog"
_INTEGERS = {"y": (0, 8), "n": (1, 16), "q": (0, 16), "i": (1, 32), "u": (0, 32), "x": (1, 64), "t": (0, 64)}
"""Whether it has a sign, and of how many bits it is."""
_DOUBLES = (0.0, -0.0, 1.0, math.inf, -math.inf, math.nan, 5e-324, 1.7976931348623157e308)
_TEXTS = (
    "",
    " ",
    "a",
    "0",
    "-1",
    "none",
    "\n",
    "\r\n\t",
    "\x01\x1b[2J\x7f",
    "\ufeffpath",
    "\u202eetc/",
    "e\u0301\u0301\u0301",
    "\U0001f4a5" * 40,
    "\ufffd",
    "\ufffe",
    "%s%n%d",
    "$(touch /tmp/pwned)",
    "`id`",
    "'; id; '",
    "../../../../etc/shadow",
    "/proc/self/mem",
    "/dev/zero",
    "/",
    "//",
    "LABEL=",
    "UUID=\u0130",
    "path /var/crash\n",
    "path /var/crash\nkdump_post /bin/\u00a0sh\n",
    "core_collector makedumpfile -d 31 -l\n",
    "ext4 /dev/vda1\nraw /dev/vda1\nxfs /dev/vda1\n",
    "# \\\n\\\n",
    "18446744073709551616",
    "9" * 400,
    '{"a":[[[[' * 30,
    "1-2:3,4G-:@",
    "512M,high",
    "x" * 255,
    "x" * 4096,
)
# What silences the daemon's log, in which a traceback is looked for, is not among them: null, emerg, alert, crit.


class Values:
    """`words` are names that the service knows, for values that come further than others."""

    def __init__(self, random: Random, words: Sequence[str]) -> None:
        self._random = random
        self._words = tuple(words)

    def body(self, signature: str) -> bytes:
        writer = Writer()
        self.write(writer, signature)
        return bytes(writer.octets)

    def write(self, writer: Writer, signature: str) -> None:
        for kind in complete_types(signature):
            self._write(writer, kind, depth=0, arrays=0)

    def deepest(self) -> bytes:
        """Options of which one holds a variant in a variant and so on, as deep as the bus lets pass."""
        writer = Writer()

        def entry() -> None:
            writer.align(8)
            writer.text(b"deep")
            for _ in range(DEEPEST - 3):
                writer.signature("v")
            writer.signature("y")
            writer.number("y", 1)

        writer.array("{", entry)
        return bytes(writer.octets)

    def text(self) -> str:
        choose = self._random.random()
        if choose < 0.5 and self._words:
            return self._random.choice(self._words)
        if choose < 0.98:
            return self._random.choice(_TEXTS)
        return self._random.choice(("x", "\n", "\u00e9", "path /\n", "#")) * self._random.randint(1, 64 * KIB)

    def signature(self, *, depth: int = 0) -> str:
        """Of one complete type."""
        choose = self._random.random()
        if choose < 0.6 or depth > 6:
            return self._random.choice(f"{_BASIC}v")
        inner = self.signature(depth=depth + 1)
        if choose < 0.75:
            return f"a{inner}"
        if choose < 0.9:
            return f"a{{{self._random.choice(_BASIC)}{inner}}}"
        return f"({inner}{self.signature(depth=depth + 1)})"

    def _write(self, writer: Writer, kind: str, *, depth: int, arrays: int) -> None:
        match kind[0]:
            case "s":
                writer.text(self.text().encode())
            case "o":
                writer.text(self._random.choice((b"/", b"/a", b"/org/kdumpd/Kdump1", b"/_" * 500)))
            case "g":
                writer.signature(
                    self._random.choice(("", "a{sv}", "v", "a" * 32 + "y", "(" * 32 + "y" + ")" * 32))
                )
            case "b":
                writer.number("b", self._random.getrandbits(1))
            case "d":
                writer.number("d", self._random.choice(_DOUBLES))
            case "v":
                inner = self._inner(depth)
                writer.signature(inner)
                self._write(writer, inner, depth=depth + 1, arrays=arrays)
            case "a":
                self._write_array(writer, kind[1:], depth=depth, arrays=arrays)
            case "(" | "{":
                writer.align(8)
                for member in complete_types(kind[1:-1]):
                    self._write(writer, member, depth=depth + 1, arrays=arrays)
            case token:
                writer.number(token, self._integer(token))

    def _inner(self, depth: int) -> str:
        if depth < DEEPEST - 8 and self._random.random() < 0.2:
            return "v"
        return self.signature() if depth < 8 else self._random.choice(_BASIC)

    def _integer(self, token: str) -> int:
        is_signed, bits = _INTEGERS[token]
        least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)
        return self._random.choice((0, 1, least, most, most - 1, self._random.randint(least, most)))

    def _write_array(self, writer: Writer, of: str, *, depth: int, arrays: int) -> None:
        length = self._random.choice((0, 0, 1, 1, 2, 3)) if depth < 12 and arrays < _DEEPEST_ARRAY - 2 else 0
        if depth == 0 and self._random.random() < 0.01:
            length = self._random.randint(100, 2000)

        def members() -> None:
            for _ in range(length):
                self._write(writer, of, depth=depth + 1, arrays=arrays + 1)

        writer.array(of, members)
