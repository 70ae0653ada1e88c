"""/etc/kdumpd.toml: kdumpd's own settings, which no other tool reads, so that kdump.conf stays portable."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from kdumpd.core.config import printable
from kdumpd.core.problems import Problem
from kdumpd.core.retention import Limits

FILE = "/etc/kdumpd.toml"
DAY_SECONDS = 86_400


class EngineChoice(StrEnum):
    """Which engine builds the base of the image."""

    AUTO = "auto"
    DIRECT = "direct"
    DRACUT = "dracut"


def _absolute(path: str) -> str:
    if not path.startswith("/") or not path.isprintable() or ".." in path.split("/"):
        raise ValueError("it has to be an absolute path")
    return path


AbsolutePath = Annotated[str, AfterValidator(_absolute)]
Seconds = Annotated[float, Field(allow_inf_nan=False, le=DAY_SECONDS)]


class Tuning(BaseModel, frozen=True, extra="forbid", strict=True):
    """kdumpd's own settings. Sizes are in bytes; 0 turns a rule of retention off."""

    engine: EngineChoice = Field(
        default=EngineChoice.AUTO,
        strict=False,
        description="Who builds the image: `auto`, `direct` or `dracut`. `auto` takes direct where it knows every "
        "layer below the target, and dracut elsewhere.",
    )
    store: AbsolutePath = Field(
        default="/var/lib/kdumpd", description="The directory that keeps the images and the state of kdumpd."
    )
    sysconfig_file: str = Field(
        default="",
        description="The file with the KDUMP_ variables. Empty: `/etc/sysconfig/kdump`, or `/etc/default/kdump` "
        "where that one is missing.",
        pattern=r"^(/[^\x00]*)?$",
    )
    compression_level: int = Field(
        default=9,
        ge=1,
        le=19,
        description="How hard the base of the image is compressed, from 1 to 19: by zstd, or by gzip (9 at most) where the "
        "configuration of the capture kernel is without CONFIG_RD_ZSTD, and not at all where it is without both.",
    )
    build_timeout_seconds: Seconds = Field(
        default=600.0, ge=1, description="A build that takes longer is stopped and counts as failed."
    )
    prebuild_kernels: int = Field(
        default=2,
        ge=0,
        le=16,
        description=(
            "For this many of the newest installed kernels, the image is built before they are booted. 0: "
            "for none."
        ),
    )
    store_budget_mib: int = Field(
        default=256,
        ge=0,
        description="How many MiB of images are kept, those that were used last, so that going back to an earlier "
        "configuration builds nothing. What is needed now is kept in any case.",
    )
    settle_seconds: Seconds = Field(
        default=0.3,
        ge=0,
        description="How long kdumpd waits after the last change before it acts. A single change after a long "
        "quiet time is acted on after a third of that.",
    )
    settle_cap_seconds: Seconds = Field(
        default=5.0, ge=0, description="After this long it acts, even if changes still go on."
    )
    slow_poll_seconds: Seconds = Field(
        default=3600.0,
        ge=1,
        description="How often it looks without any sign of a change. While dumps go over the network it looks at "
        "least every five minutes, because name servers do not announce their changes.",
    )
    target_test_hours: float = Field(
        default=24.0,
        ge=0,
        le=8760,
        allow_inf_nan=False,
        description="How often the target is tested, besides after each change of it: a small file is written "
        "there and removed. A test that is cancelled counts as one. 0: only when it is asked for.",
    )
    stall_seconds: Seconds = Field(
        default=120.0,
        ge=10,
        description="In the capture kernel, a collector that has neither written nor computed for this long is ended, "
        "and so is one that has only computed for 120 times as long.",
    )
    hook_timeout_seconds: Seconds = Field(
        default=1800.0,
        ge=0,
        description="In the capture kernel, each program of kdump_pre, kdump_post, kdump_emergency and their folders "
        "that has not ended after this long is ended and has failed. 0: never.",
    )
    keep_count: int = Field(
        default=0, ge=0, description="Keep at most this many dumps, the newest. 0: any number."
    )
    keep_days: int = Field(
        default=0, ge=0, le=36_500, description="Delete dumps older than this many days. 0: never."
    )
    keep_free_bytes: int = Field(
        default=0,
        ge=0,
        description="Delete the oldest dumps until the file system has this much room. 0: never.",
    )
    keep_total_bytes: int = Field(
        default=0, ge=0, description="Delete the oldest dumps until all together take at most this. 0: never."
    )

    @property
    def retention(self) -> Limits:
        return Limits(
            count=self.keep_count,
            days=self.keep_days,
            free_bytes=self.keep_free_bytes,
            total_bytes=self.keep_total_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningReading:
    """What became of the text. `tuning` is None where there is a problem."""

    tuning: Tuning | None
    problems: tuple[Problem, ...]


def read(text: str, *, file: str) -> TuningReading:
    """Every Problem of the text at once; TOML that cannot be taken apart has only the first. Lines count from 1."""
    try:
        told = tomllib.loads(text)
    except (ValueError, RecursionError) as fault:
        return TuningReading(tuning=None, problems=(_syntax_problem(text, fault, file=file),))
    try:
        return TuningReading(tuning=Tuning.model_validate(told), problems=())
    except ValidationError as fault:
        problems = [
            _problem(text, str(error["loc"][0]), error["type"], error["msg"], file=file)
            for error in fault.errors(include_url=False, include_context=False, include_input=False)
        ]
        return TuningReading(tuning=None, problems=tuple(sorted(problems, key=lambda problem: problem.line)))


_POSITION = re.compile(r" \(at line ([0-9]+), column [0-9]+\)$| \(at end of document\)$")


def _syntax_problem(text: str, fault: Exception, *, file: str) -> Problem:
    """Before Python 3.14 tomllib tells the place only inside its sentence."""
    if isinstance(fault, RecursionError):
        sentence, line = "it is nested too deeply", 1
    else:
        sentence = str(fault)
        found = _POSITION.search(sentence)
        last = max(len(text.splitlines()), 1)
        line = int(found[1]) if found and found[1] else last if found else 1
        sentence = _POSITION.sub("", sentence)
    return Problem(code="bad-toml", message=f"this is not TOML: {printable(sentence)}", file=file, line=line)


def _problem(text: str, key: str, kind: str, sentence: str, *, file: str) -> Problem:
    line = _line_of(text, key)
    shown = printable(key)
    if kind == "extra_forbidden":
        close = get_close_matches(key[:80], Tuning.model_fields, n=1)
        hint = f"did you mean {close[0]}?" if close else "see kdumpd.toml(5)"
        message = f"`{shown}` is not a setting of kdumpd"
        return Problem(code="unknown-key", message=message, hint=hint, file=file, line=line, key=shown)
    reason = printable(sentence.removeprefix("Value error, "))
    message = f"the value of `{shown}` is refused: {reason[:1].lower()}{reason[1:]}"
    return Problem(
        code="bad-value", message=message, hint="see kdumpd.toml(5)", file=file, line=line, key=shown
    )


def _line_of(text: str, key: str) -> int:
    """The line that names a key of the top level: tomllib does not tell where a value came from."""
    name = re.escape(key)
    naming = re.compile(rf"\s*(?:\[+\s*)?[\"']?{name}[\"']?\s*[=.\]]")
    return next((number for number, line in enumerate(text.split("\n"), start=1) if naming.match(line)), 1)
