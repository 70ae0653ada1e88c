"""Asks the kernel whether anybody has a file open, without a look into other processes."""

from __future__ import annotations

import errno
import fcntl
import os
import signal


def is_open(path: str) -> bool:
    """Whether any process, of whatever namespace, has the file `path` open or mapped.

    A write lease is granted only where nobody else has the file open (fcntl(2)), and is given back at once. /proc would
    not tell: root's processes show their files only to who may trace them. Raises OSError where the file system, or the
    owner of the file, allows no lease.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        # Whoever opens it meanwhile waits for us, and we are sent a signal: one that is ignored, where SIGIO would end us.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as fault:
        if fault.errno == errno.EAGAIN:
            return True
        raise
    else:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False
    finally:
        os.close(descriptor)
