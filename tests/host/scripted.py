"""Programs that answer as a test says, and fail it on anything that it did not say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Unpack

import pytest

from kdumpd.host.doors import GOOD, KEPT_BYTES, Output, ProgramFailed, Terms
from kdumpd.host.real import RealPrograms


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a program ends; `first` is what it does to the world before that."""

    status: int = 0
    stdout: str = ""
    stderr: str = ""
    reason: str = ""
    first: Callable[[], object] = lambda: None


MISSING = Answer(status=127, reason="is not installed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a program was asked to do, as far as a stand-in's answer may hang on it."""

    argv: tuple[str, ...]
    timeout: float
    stdin: bytes
    on_line: Callable[[str], None] | None
    good: frozenset[int]
    keep_bytes: int
    environment: Mapping[str, str]


class StandIns(RealPrograms):
    """The programs of this machine, but for those that `answer` stands in for."""

    async def answer(self, asked: Asked) -> Output | None:
        """None: the real program is run. Raises ProgramFailed as a program that fails."""
        raise NotImplementedError

    async def run(self, argv: Sequence[str], *, timeout: float, **terms: Unpack[Terms]) -> Output:
        asked = Asked(
            argv=tuple(argv),
            timeout=timeout,
            stdin=terms.get("stdin", b""),
            on_line=terms.get("on_line"),
            good=terms.get("good", GOOD),
            keep_bytes=terms.get("keep_bytes", KEPT_BYTES),
            environment=terms.get("environment") or {},
        )
        answered = await self.answer(asked)
        if answered is not None:
            return answered
        return await super().run(argv, timeout=timeout, **terms)


@dataclass(slots=True)
class ScriptedPrograms:
    """The answers come in order, each to an argv that must be exactly the expected one."""

    script: list[tuple[tuple[str, ...], Answer]] = field(default_factory=list)

    def expect(self, *argv: str, answer: Answer = Answer()) -> None:  # a frozen value
        self.script.append((argv, answer))

    def find(self, name: str) -> str:
        pytest.fail(f"nobody said that {name} would be looked for")

    async def run(self, argv: Sequence[str], *, timeout: float, **terms: Unpack[Terms]) -> Output:
        assert self.script, f"nobody expected {argv}"
        expected, answer = self.script.pop(0)
        assert tuple(argv) == expected
        assert timeout > 0
        answer.first()
        output = Output(
            argv=tuple(argv),
            status=answer.status,
            stdout=answer.stdout.encode(),
            stderr=answer.stderr.encode(),
        )
        if answer.status not in terms.get("good", GOOD):
            raise ProgramFailed(
                output, answer.reason or f"exit status {answer.status}: {answer.stderr.strip()}"
            )
        return output
