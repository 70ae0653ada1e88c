"""Which polkit action each method, or write of a property, needs. What is not in the table is refused to everyone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

BUS_NAME = "org.kdumpd.Kdump1"
ROOT = "/org/kdumpd/Kdump1"

MANAGER = f"{BUS_NAME}.Manager"
CONFIG = f"{BUS_NAME}.Config"
JOB = f"{BUS_NAME}.Job"
KERNEL = f"{BUS_NAME}.Kernel"
DUMP = f"{BUS_NAME}.Dump"
LOG_CONTROL = "org.freedesktop.LogControl1"
LOG_CONTROL_PATH = "/org/freedesktop/LogControl1"


def file_of(interface: str) -> str:
    """The name of an interface's introspection file: ours in every case, for systemd brings one for its LogControl1."""
    return f"{BUS_NAME}.{interface.rpartition('.')[2]}.xml"


class Action(StrEnum):
    """The actions of org.kdumpd.Kdump1.policy."""

    READ_CONFIG = f"{BUS_NAME}.read-config"
    READ_LOG = f"{BUS_NAME}.read-log"
    REBUILD = f"{BUS_NAME}.rebuild"
    RELOAD = f"{BUS_NAME}.reload"
    MANAGE = f"{BUS_NAME}.manage"
    MODIFY_CONFIG = f"{BUS_NAME}.modify-config"
    TEST_TARGET = f"{BUS_NAME}.test-target"
    PROPAGATE = f"{BUS_NAME}.propagate"
    TEST_CRASH = f"{BUS_NAME}.test-crash"
    CANCEL_ANY = f"{BUS_NAME}.cancel-any"
    DELETE_DUMP = f"{BUS_NAME}.delete-dump"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a method, or the write of a property, needs: an action, or None for reading what anyone may read."""

    action: Action | None
    is_free_to_owner: bool = False


_FREE = Rule(action=None)

RULES: Mapping[tuple[str, str], Rule] = MappingProxyType(
    {
        (MANAGER, "Rebuild"): Rule(action=Action.REBUILD),
        (MANAGER, "Reload"): Rule(action=Action.RELOAD),
        (MANAGER, "Unload"): Rule(action=Action.MANAGE),
        (MANAGER, "SetEnabled"): Rule(action=Action.MANAGE),
        (MANAGER, "SetCrashkernel"): Rule(action=Action.MANAGE),
        (MANAGER, "Refresh"): Rule(action=Action.RELOAD),
        (MANAGER, "Inhibit"): Rule(action=Action.MANAGE),
        (MANAGER, "ReleaseInhibit"): Rule(action=Action.MANAGE),
        (MANAGER, "PrepareTestCrash"): _FREE,
        (MANAGER, "TestCrash"): Rule(action=Action.TEST_CRASH),
        (MANAGER, "GetPermissions"): _FREE,
        (MANAGER, "GetHistory"): _FREE,
        (MANAGER, "Describe"): _FREE,
        (MANAGER, "Estimate"): _FREE,
        (CONFIG, "Get"): _FREE,
        (CONFIG, "GetText"): Rule(action=Action.READ_CONFIG),
        (CONFIG, "Validate"): _FREE,
        (CONFIG, "Export"): Rule(action=Action.READ_CONFIG),
        (CONFIG, "Set"): Rule(action=Action.MODIFY_CONFIG),
        (CONFIG, "SetText"): Rule(action=Action.MODIFY_CONFIG),
        (CONFIG, "TestTarget"): Rule(action=Action.TEST_TARGET),
        (CONFIG, "Propagate"): Rule(action=Action.PROPAGATE),
        (JOB, "Cancel"): Rule(action=Action.CANCEL_ANY, is_free_to_owner=True),
        (JOB, "GetLog"): Rule(action=Action.READ_LOG),
        (LOG_CONTROL, "LogLevel"): Rule(action=Action.MANAGE),
        (LOG_CONTROL, "LogTarget"): Rule(action=Action.MANAGE),
        (MANAGER, "PruneDumps"): Rule(action=Action.DELETE_DUMP),
        (MANAGER, "ListDumps"): _FREE,
        (DUMP, "Delete"): Rule(action=Action.DELETE_DUMP),
    }
)

_READING = frozenset({Action.READ_CONFIG, Action.READ_LOG})


def is_a_change(interface: str, member: str) -> bool:
    """Whether the journal is to say who called it. What is not in the table might be anything."""
    rule = RULES.get((interface, member))
    return rule is None or (rule.action is not None and rule.action not in _READING)
