"""What an administrator would best do next, from what kdumpd says of itself over the bus."""

from __future__ import annotations

from dataclasses import dataclass

NOTHING = "nothing to do"
WAITING = "wait: "
CHECK = "`kdumpctl check` shows what is wrong; fix it with `kdumpctl config edit`"
AT_WORK = frozenset({"settling", "building", "loading", "verifying"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """The words of the Manager's properties, "" where one is not known. A word nobody knows leads to no advice."""

    state: str
    activity: str = "idle"
    is_enabled: bool = False
    is_reboot_required: bool = False
    is_config_valid: bool = True
    is_hindered: bool = False  # something other than kdump.conf keeps kdumpd from arming what that says
    inhibitors: tuple[str, ...] = ()  # who, in words
    next_retry: str = ""  # when, in words
    target_test: str = ""
    is_last_dump_whole: bool = True


def next_step(of: Situation) -> str:
    """One sentence; NOTHING where all is well."""
    if of.activity in AT_WORK:
        return f"{WAITING}kdumpd is at work; `kdumpctl watch` shows how far it is"
    match of.state:
        case "unsupported":
            return "boot a kernel that can load a crash kernel, or boot this one with other options"
        case "disabled" if of.is_enabled:
            return "`kdumpctl start` arms the machine again, as a reboot does"
        case "disabled":
            return "`systemctl enable --now kdump` arms the machine, `kdumpctl start` only for this boot"
        case "no-memory" if of.is_reboot_required:
            return "reboot"
        case "no-memory":
            return "`kdumpctl reserve set`, then a reboot: that reserves memory"
        case "armed":
            return _while_armed(of)
        case "foreign" | "stale" | "unarmed" | "failed":
            return _towards_armed(of)
        case _:
            return ""


def _towards_armed(of: Situation) -> str:
    if not of.is_config_valid:
        return CHECK
    if of.is_reboot_required:
        return "reboot"
    if of.inhibitors:
        return (
            f"wait until {', '.join(of.inhibitors)} lets kdumpd go on, or `kdumpctl rebuild` once it is gone"
        )
    if of.activity == "waiting":
        when = f" at {of.next_retry}" if of.next_retry else ""
        return (
            f"fix the problem above; kdumpd tries again by itself{when}, and at once when it sees the change"
        )
    if of.state == "foreign" and not of.is_hindered:
        return "`kdumpctl restart` loads what the configuration says"
    if of.state == "stale" and not of.is_hindered:
        return "`kdumpctl why` shows what differs; `kdumpctl rebuild` loads what the configuration says"
    return "fix the problem above, then `kdumpctl restart`; `kdumpctl history` shows what was tried"


def _while_armed(of: Situation) -> str:
    if not of.is_config_valid:
        return CHECK
    if of.target_test == "failed":
        return "fix the target, then `kdumpctl test-target`: a crash would likely not be saved"
    if of.is_reboot_required:
        return "reboot when convenient: until then the old reservation stays"
    if of.target_test == "warned":
        return "make room on the target, then `kdumpctl test-target`"
    if not of.is_last_dump_whole:
        return "`kdumpctl dumps show` says why the last dump is not complete"
    if not of.target_test:
        return "`kdumpctl test-target` shows whether the target takes a dump"
    return NOTHING
