"""What the kernel tells by itself: its mount table, processors and memory, links and routes, and a clock that is set.

Each ear is one descriptor for the loop, and says why to look; what changed is found by looking. Those who want one that
this machine does not have get an OSError, and go on with their poll.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
from collections.abc import Callable
from typing import BinaryIO, Protocol

from kdumpd.core import uevents
from kdumpd.host.doors import Files

MOUNT_TABLES = ("/proc/1/mountinfo", "/proc/self/mountinfo")
"""In the order in which a look reads them."""
NETLINK_KOBJECT_UEVENT = 15  # linux/netlink.h
OF_THE_KERNEL, OF_UDEVD = (
    1,
    2,
)  # the groups of uevents as the kernel sends them, and of what udevd makes of them
LINKS_ADDRESSES_ROUTES = (
    0x1 | 0x10 | 0x40 | 0x100 | 0x400
)  # RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE and those of IPv6
MESSAGE_BYTES = 64 * 1024
MESSAGES_AT_ONCE = 64
TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET = 1, 2  # linux/timerfd.h
CLOCK_REALTIME = 0
NEVER_SECONDS = 2**31 - 1  # of CLOCK_REALTIME, and small enough for any time_t
MISSED = "the kernel told more of its devices than was heard"

News = Callable[[str], None]


class Ear(Protocol):
    def fileno(self) -> int: ...
    def hear(self) -> None:
        """Take what is there, without waiting, and pass it on once."""
        ...

    def close(self) -> None: ...


class MountTable:
    """poll(2) of mountinfo says POLLPRI when the table of mounts changed, options included: see proc(5).

    It always says POLLIN too, which is why it stands behind an epoll of its own.
    """

    def __init__(self, files: Files, news: News) -> None:
        self._news = news
        self._table = _first_open(files)
        self._poll = select.epoll()
        try:
            self._poll.register(self._table, select.EPOLLPRI)
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        return self._poll.fileno()

    def hear(self) -> None:
        self._poll.poll(0)
        self._news("the mounts changed")

    def close(self) -> None:
        self._poll.close()
        self._table.close()


class Processors:
    """The kernel's uevents, of which only those of processors and memory are passed on."""

    def __init__(self, news: News) -> None:
        self._news = news
        self._socket = _netlink(NETLINK_KOBJECT_UEVENT, groups=OF_THE_KERNEL)

    def fileno(self) -> int:
        return self._socket.fileno()

    def hear(self) -> None:
        told = (uevents.news(message) if message else MISSED for message in _messages(self._socket))
        reason = next((each for each in told if each), "")
        if reason:
            self._news(reason)

    def close(self) -> None:
        self._socket.close()


class Disks:
    """udevd's own messages about block devices: it sends them once its database holds what it found on a device."""

    def __init__(self, news: News) -> None:
        self._news = news
        self._socket = _netlink(NETLINK_KOBJECT_UEVENT, groups=OF_UDEVD)

    def fileno(self) -> int:
        return self._socket.fileno()

    def hear(self) -> None:
        # Only root may send to a group (netlink(7)), and all that is asked for is a look.
        messages = _messages(self._socket, from_kernel=False)
        if any(not message or b"\0SUBSYSTEM=block\0" in message for message in messages):
            self._news("a disk came, went or changed")

    def close(self) -> None:
        self._socket.close()


class Routes:
    """rtnetlink(7): links, addresses and routes."""

    def __init__(self, news: News) -> None:
        self._news = news
        self._socket = _netlink(socket.NETLINK_ROUTE, groups=LINKS_ADDRESSES_ROUTES)

    def fileno(self) -> int:
        return self._socket.fileno()

    def hear(self) -> None:
        if _messages(self._socket):
            self._news("links, addresses or routes changed")

    def close(self) -> None:
        self._socket.close()


class ClockSet:
    """A timer that never fires, and is cancelled when the time of day is set or the machine wakes: timerfd_create(2).

    Python has it from 3.13 on; so libc is called.
    """

    def __init__(self, news: News) -> None:
        self._news = news
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._call(self._libc.timerfd_create(CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC))
        self._arm()

    def fileno(self) -> int:
        return self._descriptor

    def hear(self) -> None:
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return
        except OSError as fault:
            if fault.errno != errno.ECANCELED:
                raise
        self._arm()
        self._news("the clock was set")

    def close(self) -> None:
        os.close(self._descriptor)

    def _arm(self) -> None:
        interval_and_value = (ctypes.c_long * 4)(0, 0, NEVER_SECONDS, 0)
        flags = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET
        self._call(self._libc.timerfd_settime(self._descriptor, flags, interval_and_value, None))

    def _call(self, answer: int) -> int:
        if answer == -1:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return answer


def _first_open(files: Files) -> BinaryIO:
    try:
        return files.open(MOUNT_TABLES[0])
    except OSError:
        return files.open(MOUNT_TABLES[1])


def _netlink(family: int, *, groups: int) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    made = socket.socket(socket.AF_NETLINK, kind, family)
    try:
        made.bind((0, groups))
    except OSError:
        made.close()
        raise
    return made


def _messages(netlink: socket.socket, *, from_kernel: bool = True) -> list[bytes]:
    """Those of the kernel alone, unless another may send as well. Where more came than the socket holds, one is empty."""
    found: list[bytes] = []
    while len(found) < MESSAGES_AT_ONCE:
        try:
            message, sender = netlink.recvfrom(MESSAGE_BYTES)
        except BlockingIOError:
            break
        except OSError as fault:
            if fault.errno != errno.ENOBUFS:
                raise
            found.append(b"")
            continue
        if sender[0] == 0 or not from_kernel:
            found.append(message)
    return found
