"""summary.json: what the agent says about a capture, beside the vmcore or as a failure record."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, ValidationError

from kdumpd.core.problems import Problem, Trouble


class CaptureResult(StrEnum):
    SAVED = "saved"
    FAILED = "failed"


class _FromAgent(BaseModel):
    """Unknown keys are ignored: the agent that wrote may be newer than the daemon that reads."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Step(_FromAgent):
    """One step of the agent, in order; a step may come twice where the root file system was tried after the target."""

    name: str
    seconds: float


class Summary(_FromAgent):
    """What one capture came to.

    `failing_step` and `reason` name the first failure; they stay when `fallback` (dump_to_rootfs) then saved the
    dump. `directory` is inside the file system that holds it, empty where none was made. Texts are empty where
    the agent knew nothing.
    """

    result: CaptureResult
    version: str = ""
    capture_id: str = ""
    test_id: str = ""
    failing_step: str = ""
    reason: str = ""
    fallback: str = ""
    kernel_release: str = ""
    host_name: str = ""
    panic: str = ""
    target: str = ""
    directory: str = ""
    modules_missing: str = ""
    collector_status: int | None = None
    vmcore_bytes: int = 0
    memory_total_kib: int = 0
    memory_least_kib: int = 0
    """The least that was available at any look: at each step, and each second while the collector worked."""
    memory_reserved_kib: int = 0
    """What the capture kernel was given, itself included."""
    memory_kind: str = ""
    """Plan.memory_kind."""
    crashed_us: int = 0
    """Microseconds since the epoch when the capture kernel started, by its clock, to the second."""
    started_at: int = 0
    """Seconds since the epoch when the agent began; `finished_at` when it wrote this."""
    finished_at: int = 0
    seconds: float = 0.0
    """From the start of the capture kernel until this was written."""
    steps: tuple[Step, ...] = ()


def read_summary(data: bytes, *, file: str = "summary.json") -> Summary:
    """The summary in `data`; raises Trouble when it is none. Bytes that are not UTF-8 become U+FFFD."""
    try:
        return Summary.model_validate_json(data.decode(errors="replace"))
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        sentence = f"{where}: {first['msg']}" if where else str(first["msg"])
        raise Trouble(
            Problem(
                code="summary-unreadable",
                message=f"the summary of a capture cannot be read: {sentence}",
                file=file,
            )
        ) from fault
