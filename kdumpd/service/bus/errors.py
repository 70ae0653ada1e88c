"""What can go wrong in a call, by name; and the one place where an exception becomes a D-Bus error."""

from __future__ import annotations

import logging
from enum import StrEnum

from kdumpd.core.problems import Trouble

logger = logging.getLogger(__name__)

_DOMAIN = "org.kdumpd.Kdump1.Error."
_LONGEST_TEXT = 4096


class ErrorName(StrEnum):
    """Ours, then the standard ones. Problem codes find ours by spelling: `no-space` is NO_SPACE."""

    FAILED = _DOMAIN + "Failed"
    BUSY = _DOMAIN + "Busy"
    INHIBITED = _DOMAIN + "Inhibited"
    NOT_SUPPORTED = _DOMAIN + "NotSupported"
    NOT_ARMED = _DOMAIN + "NotArmed"
    NO_RESERVED_MEMORY = _DOMAIN + "NoReservedMemory"
    REBOOT_REQUIRED = _DOMAIN + "RebootRequired"
    LOCKDOWN = _DOMAIN + "Lockdown"
    KERNEL_NOT_FOUND = _DOMAIN + "KernelNotFound"
    INVALID_CONFIG = _DOMAIN + "InvalidConfig"
    CONFLICT = _DOMAIN + "Conflict"
    BUILD_FAILED = _DOMAIN + "BuildFailed"
    LOAD_FAILED = _DOMAIN + "LoadFailed"
    TARGET_UNREACHABLE = _DOMAIN + "TargetUnreachable"
    NO_SPACE = _DOMAIN + "NoSpace"
    TIMEOUT = _DOMAIN + "Timeout"
    CANCELLED = _DOMAIN + "Cancelled"
    NOT_CANCELABLE = _DOMAIN + "NotCancelable"
    TOKEN_INVALID = _DOMAIN + "TokenInvalid"
    NO_SUCH_INHIBITOR = _DOMAIN + "NoSuchInhibitor"
    AUTH_DISMISSED = _DOMAIN + "AuthDismissed"

    ACCESS_DENIED = "org.freedesktop.DBus.Error.AccessDenied"
    INTERACTIVE_AUTHORIZATION_REQUIRED = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
    INVALID_ARGS = "org.freedesktop.DBus.Error.InvalidArgs"
    LIMITS_EXCEEDED = "org.freedesktop.DBus.Error.LimitsExceeded"
    UNKNOWN_OBJECT = "org.freedesktop.DBus.Error.UnknownObject"
    UNKNOWN_INTERFACE = "org.freedesktop.DBus.Error.UnknownInterface"
    UNKNOWN_METHOD = "org.freedesktop.DBus.Error.UnknownMethod"
    UNKNOWN_PROPERTY = "org.freedesktop.DBus.Error.UnknownProperty"
    PROPERTY_READ_ONLY = "org.freedesktop.DBus.Error.PropertyReadOnly"
    NAME_HAS_NO_OWNER = "org.freedesktop.DBus.Error.NameHasNoOwner"
    SERVICE_UNKNOWN = "org.freedesktop.DBus.Error.ServiceUnknown"
    NO_REPLY = "org.freedesktop.DBus.Error.NoReply"
    DISCONNECTED = "org.freedesktop.DBus.Error.Disconnected"


_BY_CODE = {name.name.lower().replace("_", "-"): name for name in ErrorName if name.value.startswith(_DOMAIN)}


class BusError(Exception):
    """A D-Bus error, received or about to be sent. The text is a whole sentence: some clients print nothing else."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name
        self.text = text

    def __str__(self) -> str:
        return self.text


def domain_name_of(trouble: Trouble) -> ErrorName:
    """The first problem whose code is the name of an error decides; problems that point into a file are of its contents."""
    for problem in trouble.problems:
        if problem.code in _BY_CODE:
            return _BY_CODE[problem.code]
    if any(problem.line or problem.key for problem in trouble.problems):
        return ErrorName.INVALID_CONFIG
    return ErrorName.FAILED


def as_bus_error(fault: Exception, *, doing: str) -> BusError:
    """What the caller is told. What is our own fault goes, with its traceback, to the log and nowhere else.

    A PermissionError raised by us speaks to the caller; one with an errno is the kernel refusing the daemon.
    """
    match fault:
        case BusError():
            return BusError(fault.name, fault.text[:_LONGEST_TEXT])
        case Trouble():
            return BusError(domain_name_of(fault), str(fault)[:_LONGEST_TEXT])
        case PermissionError(errno=None):
            return BusError(ErrorName.ACCESS_DENIED, str(fault)[:_LONGEST_TEXT] or "You may not do this.")
        case _:
            logger.error("%s failed unexpectedly", doing, exc_info=fault)
            return BusError(
                ErrorName.FAILED, f"{doing} failed unexpectedly; the journal of kdumpd says more."
            )
