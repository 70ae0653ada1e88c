"""Programs that answer as a test says, and fail it on anything that it did not say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from kdumpd.host.doors import KEPT_BYTES, Output, ProgramFailed
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

    async def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        stdin: bytes = b"",
        on_line: Callable[[str], None] | None = None,
        environment: Mapping[str, str] | None = None,
        good: frozenset[int] = frozenset({0}),
        gentle: bool = False,
        keep_bytes: int = KEPT_BYTES,
    ) -> Output:
        asked = Asked(
            argv=tuple(argv),
            timeout=timeout,
            stdin=stdin,
            on_line=on_line,
            good=good,
            keep_bytes=keep_bytes,
            environment=environment or {},
        )
        answered = await self.answer(asked)
        if answered is not None:
            return answered
        return await super().run(
            argv,
            timeout=timeout,
            stdin=stdin,
            on_line=on_line,
            environment=environment,
            good=good,
            gentle=gentle,
            keep_bytes=keep_bytes,
        )


@dataclass(slots=True)
class ScriptedPrograms:
    """The answers come in order, each to an argv that must be exactly the expected one."""

    script: list[tuple[tuple[str, ...], Answer]] = field(default_factory=list)

    def expect(self, *argv: str, answer: Answer = Answer()) -> None:  # a frozen value
        self.script.append((argv, answer))

    def find(self, name: str) -> str:
        pytest.fail(f"nobody said that {name} would be looked for")

    async def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        stdin: bytes = b"",
        on_line: Callable[[str], None] | None = None,
        environment: Mapping[str, str] | None = None,
        good: frozenset[int] = frozenset({0}),
        gentle: bool = False,
        keep_bytes: int = KEPT_BYTES,
    ) -> Output:
        del stdin, on_line, environment, gentle, keep_bytes  # what is answered does not hang on them
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
        if answer.status not in good:
            raise ProgramFailed(
                output, answer.reason or f"exit status {answer.status}: {answer.stderr.strip()}"
            )
        return output
