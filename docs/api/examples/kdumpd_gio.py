#!/usr/bin/python3
"""kdumpd from Python, with Gio (python3-gi): for programs of GNOME, and for whatever has no loop of its own.

kdumpd_gio.py status                    one line: is the machine protected?
kdumpd_gio.py watch [COUNT]             that line whenever it changes, COUNT times or for ever
kdumpd_gio.py configure KEY=VALUE ...   change kdump.conf and wait until the change is armed; KEY= takes it out
kdumpd_gio.py dumps                     what was saved, the newest first
kdumpd_gio.py delete ID                 delete a dump, after asking
kdumpd_gio.py history [COUNT]           the last jobs and changes of the state
"""

import sys
from datetime import datetime, timezone

from gi.repository import Gio, GLib

NAME = "org.kdumpd.Kdump1"
ROOT = "/org/kdumpd/Kdump1"
# A password may have to be typed, and a dump may be large: the usual 25 seconds are too few.
PATIENCE = 300_000


def call(path, interface, method, arguments=None):
    """The results, unpacked. Raises GLib.Error, whose text is a whole sentence. The user may be asked for a password."""
    reply = BUS.call_sync(
        *(NAME, path, f"{NAME}.{interface}", method, arguments, None),
        *(Gio.DBusCallFlags.ALLOW_INTERACTIVE_AUTHORIZATION, PATIENCE, None),
    )
    return reply.unpack()


def properties_of(path, interface):
    reply = BUS.call_sync(
        *(NAME, path, "org.freedesktop.DBus.Properties", "GetAll"),
        *(GLib.Variant("(s)", (f"{NAME}.{interface}",)), None, Gio.DBusCallFlags.NONE, PATIENCE, None),
    )
    return reply.unpack()[0]


def follow(path, interface, look):
    """Call `look` with the properties now and after each change of one of them, until it returns True."""
    loop = GLib.MainLoop()

    def look_again(*_):
        if look(properties_of(path, interface)):
            loop.quit()
        return GLib.SOURCE_REMOVE

    listening = BUS.signal_subscribe(
        *(NAME, "org.freedesktop.DBus.Properties", "PropertiesChanged", path, None),
        *(Gio.DBusSignalFlags.NONE, look_again),
    )
    # Subscribe, then read: what changes between is told.
    GLib.idle_add(look_again)
    loop.run()
    BUS.signal_unsubscribe(listening)


def status_line():
    """Of a machine that is protected: "armed: a crash would be saved to /dev/vda1 (ext4) in /var/crash"."""
    return properties_of(ROOT, "Manager")["StateMessage"]


def watch(count):
    told = []

    def look(manager):
        line = manager["StateMessage"]
        if line not in told[-1:]:
            print(line, flush=True)
            told.append(line)
        return len(told) == count

    follow(ROOT, "Manager", look)


def wait_for_job(path):
    """Until it is done, telling its stages. Exits with its error where it fails."""
    told = []

    def look(job):
        if job["Stage"] not in {"", *told[-1:]}:
            print(f"{job['Stage']} ...", flush=True)
            told.append(job["Stage"])
        return job["State"] == "done"

    follow(path, "Job", look)
    ended = properties_of(path, "Job")
    if ended["Result"] != "done":
        sys.exit(ended["ErrorMessage"])


def configure(pairs):
    """Against the text that was seen: had somebody else changed it meanwhile, this would fail with Conflict."""
    _settings, etag = call(ROOT, "Config", "Get", GLib.Variant("(a{sv})", ({},)))
    changes = {key: GLib.Variant("s", value) for key, _, value in (pair.partition("=") for pair in pairs)}
    _etag, job = call(ROOT, "Config", "Set", GLib.Variant("(a{sv}sa{sv})", (changes, etag, {})))
    if job != "/":
        wait_for_job(job)
    print(status_line())


def all_dumps():
    """Page after page: the time and the id of the last one are where the next page begins."""
    before, identity = 0, ""
    while True:
        options = {"before-id": GLib.Variant("s", identity)}
        (page,) = call(ROOT, "Manager", "ListDumps", GLib.Variant("(tua{sv})", (before, 100, options)))
        if not page:
            return
        yield from page
        before, identity = page[-1]["time"], page[-1]["id"]


def list_dumps():
    for dump in all_dumps():
        ended = "complete" if dump["complete"] else "incomplete"
        print(f"{dump['id']}  {dump['size']} bytes  {ended}  {dump['reason']}")


def delete(identity):
    dump = next((each for each in all_dumps() if each["id"] == identity), None)
    if dump is None:
        sys.exit(f"there is no dump {identity}")
    if dump["object"] == "/":
        sys.exit(f"{identity} is not among the newest dumps, which alone can be deleted")
    print(f"Delete {dump['path']}? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip() != "y":
        print("it stays")
        return
    call(dump["object"], "Dump", "Delete", GLib.Variant("(a{sv})", ({},)))
    print("deleted")


def history(count):
    (entries,) = call(ROOT, "Manager", "GetHistory", GLib.Variant("(ua{sv})", (count, {})))
    for entry in entries:
        when = datetime.fromtimestamp(entry["time"] // 1_000_000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        print(f"{when}  {entry['kind']}  {entry['result']}  {entry['message']}")


def main(words):
    match words:
        case ["status"]:
            print(status_line())
        case ["watch", *rest]:
            watch(int(rest[0]) if rest else -1)
        case ["configure", *pairs]:
            configure(pairs)
        case ["dumps"]:
            list_dumps()
        case ["delete", identity]:
            delete(identity)
        case ["history", *rest]:
            history(int(rest[0]) if rest else 10)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    try:
        BUS = Gio.bus_get_sync(Gio.BusType.SYSTEM)
        main(sys.argv[1:])
    except GLib.Error as fault:
        Gio.DBusError.strip_remote_error(fault)
        sys.exit(fault.message)
