"""Leaves out what the daemon and kdumpctl never call: imported before anything else, it saves the daemon some 8 MiB of 46.

* OpenSSL: asyncio and hashlib are made to do without it, and nothing here speaks TLS or needs its digests.
* dbus-next's connections, services and proxies, GLib's among them, of which `service.bus.wire` uses the marshalling alone.
* watchdog's observers, of which `host.inotify` uses the three calls of libc.
* pydantic's search for plugins of its own, for which it reads what is installed with the help of email and zipfile.
* an arena of malloc for each thread: the few that read files would keep theirs for ever. Programs that are run have
  malloc as it is, which a variable in the unit's environment would change for them as well.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
from types import ModuleType

BARE_PACKAGES = ("dbus_next", "watchdog.observers")
"""Whose own first file would bring in all of their modules."""
M_ARENA_MAX = -8  # malloc.h


def _without_openssl() -> None:
    if "asyncio" not in sys.modules:  # else it is too late, and whoever has it may want it
        for name in ("ssl", "_hashlib"):
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # what makes an import of it fail


def _bare(name: str) -> None:
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        return
    package = ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules[name] = package


def _without_plugins() -> None:
    loader = ModuleType("pydantic.plugin._loader")
    loader.get_plugins = tuple  # type: ignore[attr-defined]
    sys.modules.setdefault(loader.__name__, loader)


def _with_one_arena() -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_ARENA_MAX, 1)


_without_openssl()
for _package in BARE_PACKAGES:
    _bare(_package)
# Its modules import each other in a circle, into which the package's own first file would have led.
importlib.import_module("dbus_next.errors")
_without_plugins()
_with_one_arena()
