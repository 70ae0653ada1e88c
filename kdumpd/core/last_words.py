"""What the end of a crashed kernel's log tells: the line that names the crash, the head of the call trace, the release."""

from __future__ import annotations

import re

REASON_CHARACTERS = 200
LINE_CHARACTERS = 1024
"""Of a line that are looked at, as many as printk writes: what a pattern tries grows with their square."""
FRAMES_AT_MOST = 12
_STAMP = re.compile(r"^(?:<\d+>)?\[[ \d.]+\](?:\[[^]]*\])? ")
_PANIC = "Kernel panic - not syncing"
_BUG = re.compile(r"(?:BUG: |kernel BUG at |Unable to handle kernel |general protection fault).*")
_OOPS = re.compile(r"(?:Oops: |Internal error: ).*")
_TRIGGER = re.compile(r"sysrq: (?:SysRq : )?Trigger a crash.*")
_TRACE = re.compile(r"call trace:", re.IGNORECASE)
_FRAME = re.compile(r"[A-Za-z_.$][\w.$]*\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[[\w-]+\])?")
_BETWEEN = re.compile(r"\s*</?[A-Z]+>\s*")
_RELEASE = re.compile(r"^CPU: .* ([0-9]+\.[0-9]+\.\S+) #")


def panic_line(kernel_log: str) -> str:
    """The line that names the crash best: the panic's own, else the bug's, the oops's, or that of a forced crash.

    The last one counts: an older oops may have been survived.
    """
    lines = _lines(kernel_log)
    panics = [line[line.index(_PANIC) :] for line in lines if _PANIC in line]
    if panics:
        return one_line(panics[-1])
    for pattern in (_BUG, _OOPS, _TRIGGER):
        for line in reversed(lines):
            found = pattern.search(line)
            if found is not None:
                return one_line(found[0])
    return ""


def call_trace(kernel_log: str) -> tuple[str, ...]:
    """The innermost frames, as function+offset/size: of the panic's own trace, else of the last one before it.

    Frames that the kernel itself is not sure of (`? name`) are left out.
    """
    lines = _lines(kernel_log)
    traces = [number for number, line in enumerate(lines) if _TRACE.match(line.strip())]
    panics = [number for number, line in enumerate(lines) if _PANIC in line]
    after = [number for number in traces if panics and number > panics[-1]]
    if not traces:
        return ()
    frames: list[str] = []
    for line in lines[(after[0] if after else traces[-1]) + 1 :]:
        found = _FRAME.search(line)
        if found is not None and not line.lstrip().startswith("? "):
            frames.append(one_line(found[0]))
        elif found is None and not _BETWEEN.fullmatch(line):
            break
        if len(frames) == FRAMES_AT_MOST:
            break
    return tuple(frames)


def kernel_of(kernel_log: str) -> str:
    """The release of the kernel, as its last trace names it."""
    for line in reversed(_lines(kernel_log)):
        found = _RELEASE.search(line)
        if found is not None:
            return one_line(found[1])
    return ""


def _lines(kernel_log: str) -> list[str]:
    """Without what printk writes before them."""
    return [_STAMP.sub("", line[:LINE_CHARACTERS]) for line in kernel_log.splitlines()]


def one_line(text: str) -> str:
    """One line that may be shown anywhere."""
    return "".join(each if each.isprintable() else " " for each in text).strip()[:REASON_CHARACTERS]
