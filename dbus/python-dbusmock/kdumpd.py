"""kdumpd for the tests of front ends: a template of python-dbusmock, made of kdumpd's own introspection files.

    python3 -m dbusmock --session --template kdumpd [--parameters '{"permissions": "auth"}']

It serves org.kdumpd.Kdump1 as kdumpd does, with each method, property, result and signal that the files name: an armed
machine that saves to /dev/vda1. What a front end does to it has the effects that it may count on: Set wants the etag and
writes, a job goes through its stages and changes the state, Delete takes a dump's object away. Nothing of the machine is
touched, and polkit is not asked. All of it is in one file, because python-dbusmock loads a template as one.

Parameters:
    permissions (s): what GetPermissions says of each action: "yes", "auth" (after a password) or "no". With "auth" and "no"
        the methods refuse as kdumpd does when nobody can be asked, or polkit says no. Default: "yes".
    seconds (d): how long a job takes. Default: 0.2.

Methods on org.freedesktop.DBus.Mock, beside those of every mock:
    AddDump(s id, t time, t size, b complete, s reason) -> o: a dump was found
    FailNext(s error, s message): the next job fails with this error, as "BuildFailed" or "TargetUnreachable"
    SetState(s state, s reason, s message): as if something had happened to the machine
    EditFile(s text): as if somebody had saved /etc/kdump.conf in an editor
    SetPermission(s action, s permission): one action otherwise than the others
    EndTestCrash(s state, s message): what became of the test crash, as after the reboot: "passed" or "failed"; TestCrash
        itself returns here, and leaves it "pending"
"""

import hashlib
import json
import os
import re
import time
from xml.etree import ElementTree as ET

from dbusmock import MOCK_IFACE, mockobject
from gi.repository import GLib

import dbus

NAME = "org.kdumpd.Kdump1"
MANAGER, CONFIG, JOB, KERNEL, DUMP = (
    f"{NAME}.{each}" for each in ("Manager", "Config", "Job", "Kernel", "Dump")
)
LOG_CONTROL = "org.freedesktop.LogControl1"
LOG_CONTROL_PATH = "/org/freedesktop/LogControl1"

BUS_NAME = NAME
MAIN_OBJ = "/org/kdumpd/Kdump1"
MAIN_IFACE = MANAGER
SYSTEM_BUS = True
IS_OBJECT_MANAGER = True

RELEASE = "6.1.0-56-amd64"
ARMED = "armed: a crash would be saved to /dev/vda1 (ext4) in {}"
BEGINNING = "# where dumps go\npath /var/crash\n"
STAGES = ("build", "prove", "load")
NEEDS = re.compile(r"\bNeeds\s+(org\.kdumpd\.Kdump1\.[\w-]+)")

HERE = os.path.dirname(os.path.abspath(__file__))
PLACES = (f"{HERE}/../../dbus-1/interfaces", f"{HERE}/..")  # as installed, and in the source


def load(mock, parameters):
    mock.kdumpd = Kdumpd(mock, parameters)


@dbus.service.method(MOCK_IFACE, in_signature="sttbs", out_signature="o")
def AddDump(self, identity, when, size, complete, reason):
    return self.kdumpd.add_dump(identity, when, size, complete, reason)


@dbus.service.method(MOCK_IFACE, in_signature="ss")
def FailNext(self, error, message):
    self.kdumpd.failure = (f"{NAME}.Error.{error}", str(message))


@dbus.service.method(MOCK_IFACE, in_signature="sss")
def SetState(self, state, reason, message):
    self.kdumpd.be(state, reason, message)


@dbus.service.method(MOCK_IFACE, in_signature="s")
def EditFile(self, text):
    self.kdumpd.write(str(text), origin="file")


@dbus.service.method(MOCK_IFACE, in_signature="ss")
def SetPermission(self, action, permission):
    self.kdumpd.permissions[str(action)] = str(permission)


@dbus.service.method(MOCK_IFACE, in_signature="ss")
def EndTestCrash(self, state, message):
    self.kdumpd.tell(MANAGER, TestCrashState=state, TestCrashMessage=message)


class Kdumpd:
    """What all objects together know. Its methods are named as those of the API, in small letters."""

    def __init__(self, mock, parameters):
        self.faces = {name: Face(name) for name in (MANAGER, CONFIG, JOB, KERNEL, DUMP, LOG_CONTROL)}
        self.mock = mock
        self.text = BEGINNING
        self.failure = None
        self.history = []
        self.inhibitors = {}
        self.cookies = self.jobs = 0
        self.token = None
        self.milliseconds = max(1, int(float(parameters.get("seconds", 0.2)) * 1000 / len(STAGES)))
        permission = str(parameters.get("permissions", "yes"))
        actions = {action for face in self.faces.values() for action in face.actions.values()}
        self.permissions = dict.fromkeys(sorted(actions), permission)
        self.dress(mock, MANAGER, **self._manager())
        self.dress(mock, CONFIG, **self._config())
        self.add(f"{MAIN_OBJ}/kernels/{escaped(RELEASE)}", KERNEL, **self._kernel())
        self.add(
            LOG_CONTROL_PATH, LOG_CONTROL, LogLevel="info", LogTarget="journal", SyslogIdentifier="kdumpd"
        )

    # --- objects ------------------------------------------------------------------------------------------------------

    def dress(self, of, interface, **values):
        """Give an object an interface, with properties; those that are not named are empty."""
        face = self.faces[interface]
        of.props[interface] = dbus.Dictionary(
            {
                name: typed(signature, values.get(name, NOTHING[signature]))
                for name, signature in face.properties.items()
            },
            signature="sv",
        )
        for name, (takes, gives) in face.methods.items():
            of.AddMethod(interface, name, takes, gives, self._body(face, name, gives))
        introspect = lambda one: self._introspect(one)  # noqa: E731,PLW0108 - dbusmock takes functions, and no bound methods
        of.AddMethod(dbus.INTROSPECTABLE_IFACE, "Introspect", "", "s", introspect)

    def add(self, path, interface, **values):
        self.mock.AddObject(path, interface, dbus.Dictionary({}, signature="sv"), [])
        added = mockobject.objects[path]
        added.kdumpd = self
        self.dress(added, interface, **values)
        if path.startswith(f"{MAIN_OBJ}/"):
            self.mock.object_manager_emit_added(path)
        return added

    def tell(self, interface, path=MAIN_OBJ, **values):
        """Change properties, and say so in one signal."""
        of = self.mock if path == MAIN_OBJ else mockobject.objects[path]
        face = self.faces[interface]
        new = {name: typed(face.properties[name], value) for name, value in values.items()}
        changed = {name: value for name, value in new.items() if of.props[interface][name] != value}
        of.props[interface].update(changed)
        with_value = {name: value for name, value in changed.items() if name not in face.invalidated}
        without = [name for name in changed if name in face.invalidated]
        if changed:
            of.EmitSignal(
                *(dbus.PROPERTIES_IFACE, "PropertiesChanged", "sa{sv}as"),
                [interface, dbus.Dictionary(with_value, signature="sv"), dbus.Array(without, signature="s")],
            )

    def emit(self, interface, name, *values, path=MAIN_OBJ):
        of = self.mock if path == MAIN_OBJ else mockobject.objects[path]
        of.EmitSignal(interface, name, self.faces[interface].signals[name], list(values))

    def get(self, interface, name, path=MAIN_OBJ):
        of = self.mock if path == MAIN_OBJ else mockobject.objects[path]
        return of.props[interface][name]

    def _body(self, face, name, gives):
        """What runs when the method is called: allowed or not, then what is known to happen, or a result that is empty."""
        action = face.actions.get(name)

        def body(of, *arguments):
            permission = self.permissions.get(action, "yes")
            if permission == "no":
                raise error(
                    "org.freedesktop.DBus.Error.AccessDenied", f"It needs the polkit action {action}."
                )
            if permission != "yes":
                told = f"This needs a password, for the polkit action {action}, and asking was not allowed."
                raise error("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", told)
            known = getattr(self, f"{face.short}_{name}", None)
            if known is not None:
                return known(of, *arguments)
            results = tuple(typed(each, NOTHING[each]) for each in split(gives))
            return results[0] if len(results) == 1 else results or None

        return body

    def _introspect(self, of):
        """What dbusmock says of its own interfaces, and of ours the packaged files, word for word."""
        # Of the class, not of the object: that one is this function.
        told = mockobject.DBusMockObject.Introspect(of, of._object_path, of.connection)  # noqa: SLF001
        tree = ET.fromstring(told)  # noqa: S314 - our own
        for interface in tree.findall("interface"):
            if interface.get("name") in self.faces:
                tree.remove(interface)
            elif interface.get("name") == dbus.PROPERTIES_IFACE:
                interface.append(ET.fromstring(PROPERTIES_CHANGED))  # noqa: S314 - our own
        for name in of.props:
            if name in self.faces:
                tree.append(self.faces[name].element)
        return ET.tostring(tree, encoding="unicode")

    # --- jobs ---------------------------------------------------------------------------------------------------------

    def begin(self, kind, on_end=lambda _failed: None, reason=""):
        self.jobs += 1
        number, path = self.jobs, f"{MAIN_OBJ}/jobs/{self.jobs}"
        now = microseconds()
        self.add(
            path,
            JOB,
            Id=number,
            Kind=kind,
            Kernel=RELEASE,
            Reason=reason,
            StartTime=now,
            Cancelable=True,
            State="running",
            Stage=STAGES[0],
            ProgressValid=True,
            ExpectedEndTime=now + self.milliseconds * len(STAGES) * 1000,
        )
        self.emit(MANAGER, "JobNew", number, dbus.ObjectPath(path), kind)
        self.tell(MANAGER, ActiveJob=path, Activity="building")
        GLib.timeout_add(self.milliseconds, self._go_on, path, on_end, 1)
        return dbus.ObjectPath(path)

    def _go_on(self, path, on_end, stage):
        if self.get(JOB, "State", path) == "done":  # it was cancelled
            return GLib.SOURCE_REMOVE
        if stage < len(STAGES):
            lines = [*self.get(JOB, "LogTail", path), f"{STAGES[stage - 1]}: done"]
            self.tell(JOB, path, Stage=STAGES[stage], Progress=stage / len(STAGES), LogTail=lines)
            GLib.timeout_add(self.milliseconds, self._go_on, path, on_end, stage + 1)
            return GLib.SOURCE_REMOVE
        failed, self.failure = self.failure, None
        on_end(failed)
        self._end(path, "failed" if failed else "done", *(failed or ("", "")))
        return GLib.SOURCE_REMOVE

    def _end(self, path, result, name="", message=""):
        kind, number = self.get(JOB, "Kind", path), self.get(JOB, "Id", path)
        self.tell(MANAGER, ActiveJob="/", Activity="idle", LastResult=result, LastSuccess=microseconds())
        self.tell(
            JOB,
            path,
            State="done",
            Result=result,
            ErrorName=name,
            ErrorMessage=message,
            EndTime=microseconds(),
            Cancelable=False,
            Progress=1.0,
        )
        self.emit(JOB, "Completed", result, name, message, path=path)
        self.emit(MANAGER, "JobRemoved", number, dbus.ObjectPath(path), kind, result)
        self.note(kind, result, message)

    def note(self, kind, result, message):
        entry = {
            "kind": kind,
            "result": result,
            "why": "",
            "error": "",
            "message": message,
            "image": "",
            "load": "",
        }
        told = dbus.Dictionary({key: dbus.String(value) for key, value in entry.items()}, signature="sv")
        told.update({"time": dbus.UInt64(microseconds()), "seconds": dbus.Double(0.2), "uid": dbus.UInt32(0)})
        self.history.insert(0, told)

    # --- the configuration --------------------------------------------------------------------------------------------

    @property
    def etag(self):
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    @property
    def settings(self):
        lines = (line.split(None, 1) for line in self.text.splitlines() if line and not line.startswith("#"))
        found = {"path": "/var/crash", "core_collector": "makedumpfile -l --message-level 7 -d 31"}
        return found | {words[0]: words[1] if len(words) > 1 else "" for words in lines}

    def write(self, text, origin="bus"):
        before, self.text = self.settings, text
        after = self.settings
        keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        self.tell(CONFIG, **self._config())
        self.tell(MANAGER, StateMessage=ARMED.format(after["path"]))
        self.emit(CONFIG, "Changed", self.etag, dbus.Array(keys, signature="s"), origin)

    def _change(self, text, etag, options):
        if etag != self.etag:
            raise error(
                f"{NAME}.Error.Conflict", "/etc/kdump.conf was changed by someone else since it was read."
            )
        if options.get("dry-run", False) or text == self.text:
            return self.etag, dbus.ObjectPath("/")
        before = self.text
        self.write(text)

        def put_back(failed):
            if failed and options.get("rollback-on-failure", True):
                self.write(before)

        if not options.get("rebuild", True):
            return self.etag, dbus.ObjectPath("/")
        new = self.etag
        return new, self.begin("rebuild", put_back, "/etc/kdump.conf was changed over D-Bus")

    def Config_Get(self, _of, _options):
        told = {key: dbus.String(value) for key, value in self.settings.items()}
        return dbus.Dictionary(told, signature="sv"), self.etag

    def Config_GetText(self, _of, _options):
        return self.text, self.etag

    def Config_Validate(self, _of, _text, _options):
        return True, typed("a(ussss)", ())

    def Config_Export(self, _of, form, _options):
        if form not in {"shell", "ansible"}:
            raise error("org.freedesktop.DBus.Error.InvalidArgs", "The format is one of shell, ansible.")
        return f"# {form}\n{self.text}"

    def Config_Set(self, _of, changes, etag, options):
        lines = self.text.splitlines()
        for key, value in changes.items():
            lines = [line for line in lines if line.partition(" ")[0] != key]
            values = [value] if isinstance(value, str) else value
            lines += [f"{key} {each}" for each in values if each]
        return self._change("\n".join([*lines, ""]), etag, options)

    def Config_SetText(self, _of, text, etag, options):
        return self._change(str(text), etag, options)

    def Config_TestTarget(self, _of, _target, _options):
        return self.begin("target-test")

    def Config_Propagate(self, _of, _options):
        return self.begin("propagate")

    # --- the rest of the API ------------------------------------------------------------------------------------------

    def Manager_Rebuild(self, _of, kernel, options):
        if kernel not in {"", RELEASE}:
            raise error(f"{NAME}.Error.KernelNotFound", f"{kernel} is not the kernel that captures.")
        self._require_uninhibited()
        return self.begin("rebuild", self._arm, str(options.get("reason", "")))

    def Manager_Reload(self, _of, _options):
        self._require_uninhibited()
        return self.begin("reload", self._arm)

    def Manager_Unload(self, _of, _options):
        return self.begin("unload", lambda failed: failed or self._disarm("the crash kernel was unloaded"))

    def Manager_SetEnabled(self, _of, enabled, _options):
        self.tell(MANAGER, Enabled=bool(enabled))
        told = "the administrator turned kdump off"
        return self.begin("enable", self._arm if enabled else lambda failed: failed or self._disarm(told))

    def Manager_SetCrashkernel(self, _of, _value, options):
        def ended(failed):
            if not failed and not options.get("dry-run", False):
                self.tell(MANAGER, RebootRequired=True)

        return self.begin("crashkernel", ended)

    def Manager_Inhibit(self, _of, who, why, _options):
        self.cookies += 1
        self.inhibitors[self.cookies] = (who, why)
        self.tell(MANAGER, Inhibitors=[(cookie, *told) for cookie, told in self.inhibitors.items()])
        return dbus.UInt32(self.cookies)

    def Manager_ReleaseInhibit(self, _of, cookie):
        if self.inhibitors.pop(int(cookie), None) is None:
            raise error(f"{NAME}.Error.NoSuchInhibitor", f"There is no inhibitor {cookie}.")
        self.tell(MANAGER, Inhibitors=[(number, *told) for number, told in self.inhibitors.items()])

    def Manager_GetPermissions(self, _of):
        return dbus.Dictionary(self.permissions, signature="ss")

    def Manager_GetHistory(self, _of, most, _options):
        return dbus.Array(self.history[: most or None], signature="a{sv}")

    def Manager_Estimate(self, _of, _options):
        mib = {"reserved": 256, "kernel": 40, "image": 12, "unpacked": 45, "working-set": 60, "needed": 157}
        mib |= {"least": 97, "recommended": 256}
        told = {key: dbus.UInt64(value << 20) for key, value in mib.items()}
        told |= {
            "crashkernel": dbus.String("256M"),
            "basis": dbus.String("guessed"),
            "captures": dbus.UInt64(0),
        }
        told |= {"built": dbus.Boolean(1), "fits": dbus.Boolean(1)}
        return dbus.Dictionary(told, signature="sv")

    def Manager_Describe(self, _of, _options):
        return json.dumps({"status": {"state": str(self.get(MANAGER, "State"))}, "problems": []})

    def Manager_ListDumps(self, _of, before, most, options):
        here = sorted(self._dumps(), key=lambda row: (row["time"], row["id"]), reverse=True)
        place = (before, options.get("before-id", ""))
        rows = [row for row in here if not any(place) or (row["time"], row["id"]) < place]
        return dbus.Array(rows[: min(most, 1000) or 1000], signature="a{sv}")

    def Manager_PrepareTestCrash(self, _of, _options):
        state = self.get(MANAGER, "State")
        if state != "armed":
            raise error(f"{NAME}.Error.NotArmed", f"The state is {state}: a crash would be no test.")
        self._require_uninhibited()
        self.token = hashlib.sha256(str(time.time_ns()).encode()).hexdigest()[:32]
        words = {"state": state, "where": f"/dev/vda1 (ext4) in {self.settings['path']}", "kernel": RELEASE}
        words |= {
            "final-action": "reboot",
            "failure-action": "reboot",
            "lost": "what is not written to files",
        }
        words |= {"target-test": "", "target-test-message": ""}
        plan = {key: dbus.String(value) for key, value in words.items()}
        plan |= {"sync-seconds": dbus.Double(30), "capture-seconds": dbus.Double(0)}
        plan |= {"forecast-bytes": dbus.UInt64(0), "free-bytes": dbus.UInt64(0)}
        plan["target"] = self.get(CONFIG, "Target")
        return self.token, dbus.UInt64(microseconds() + 60_000_000), dbus.Dictionary(plan, signature="sv")

    def Manager_TestCrash(self, _of, token, _options):
        wanted, self.token = self.token, None
        if token != wanted:
            raise error(f"{NAME}.Error.TokenInvalid", "The token is not one that was given, or was used.")
        self.tell(
            MANAGER, TestCrashState="pending", TestCrashTime=microseconds(), TestCrashMessage="it is coming"
        )

    def Job_Cancel(self, of, _options):
        if self.get(JOB, "State", of.path) == "done":
            raise error(f"{NAME}.Error.NotCancelable", "The job cannot be cancelled now.")
        self._end(of.path, "cancelled", f"{NAME}.Error.Cancelled", "It was cancelled.")

    def Job_GetLog(self, of, offset, most, _options):
        lines = list(self.get(JOB, "LogTail", of.path))[offset:][:most]
        is_over = self.get(JOB, "State", of.path) == "done"
        return dbus.Array(lines, signature="s"), dbus.UInt64(offset + len(lines)), dbus.Boolean(is_over)

    def Dump_Delete(self, of, _options):
        self.mock.object_manager_emit_removed(of.path)
        self.mock.RemoveObject(of.path)
        rows = sorted(self._dumps(), key=lambda row: row["time"])
        self.tell(MANAGER, LastDump=rows[-1]["object"] if rows else "/")

    def add_dump(self, identity, when, size, complete, reason):
        path = dbus.ObjectPath(f"{MAIN_OBJ}/dumps/{escaped(identity)}")
        told = {"Path": f"/var/crash/{identity}", "Time": when, "Size": size, "Complete": complete}
        self.add(path, DUMP, Kernel=RELEASE, Reason=reason, **told).identity = dbus.String(identity)
        self.emit(MANAGER, "DumpFound", path)
        self.tell(MANAGER, LastDump=path)
        return path

    def _dumps(self):
        for path, of in mockobject.objects.items():
            if DUMP in of.props:
                told = of.props[DUMP]
                keys = ("Path", "Time", "Size", "Complete", "Kernel", "Reason", "Test")
                row = {key.lower(): told[key] for key in keys}
                row |= {"id": of.identity, "object": dbus.ObjectPath(path)}
                yield dbus.Dictionary(row, signature="sv")

    def be(self, state, reason, message):
        """In a state, and protected or not accordingly."""
        has = state in {"armed", "stale", "foreign"}
        told = {"StateReason": reason, "StateMessage": message, "Protected": has, "CrashKernelLoaded": has}
        self.tell(MANAGER, State=state, **told)

    def _arm(self, failed=None):
        if not failed:
            self.be("armed", "armed", ARMED.format(self.settings["path"]))

    def _disarm(self, why):
        self.be("disabled", "disabled", f"disabled: a crash would not be captured; {why}")

    def _require_uninhibited(self):
        if self.inhibitors:
            who, why = next(iter(self.inhibitors.values()))
            raise error(f"{NAME}.Error.Inhibited", f"{who} keeps kdumpd from beginning anything: {why}.")

    def _manager(self):
        return {
            "Version": "0.1.0",
            "ApiRevision": 1,
            "Engine": "direct",
            "EngineReason": "every layer below the target is known",
            "Mode": "kdump",
            "State": "armed",
            "Activity": "idle",
            "Protected": True,
            "StateReason": "armed",
            "StateMessage": ARMED.format("/var/crash"),
            "CrashKernelLoaded": True,
            "ReservedBytes": 256 << 20,
            "CrashkernelParameter": "crashkernel=256M",
            "KernelRelease": RELEASE,
            "Kernel": f"{MAIN_OBJ}/kernels/{escaped(RELEASE)}",
            "InitramfsPath": "/var/lib/kdumpd/images/0123456789abcdef/initramfs.img",
            "InitramfsBuilt": microseconds(),
            "Enabled": True,
            "ActiveJob": "/",
            "LastResult": "done",
            "LastSuccess": microseconds(),
            "LastDump": "/",
            "TestCrashState": "none",
        }

    def _config(self):
        settings = self.settings
        target = {"type": "filesystem", "fstype": "ext4", "device": "/dev/vda1", "node": "/dev/vda1"}
        return {
            "Path": "/etc/kdump.conf",
            "Format": "kdump.conf",
            "Etag": self.etag,
            "Valid": True,
            "Target": target | {"directory": settings["path"], "layers": "a partition"},
            "CoreCollector": settings["core_collector"],
            "Compression": "lzo",
        }

    def _kernel(self):
        return {
            "Release": RELEASE,
            "Image": f"/boot/vmlinuz-{RELEASE}",
            "Initramfs": "/var/lib/kdumpd/images/0123456789abcdef/initramfs.img",
            "InitramfsSize": 12 << 20,
            "Built": microseconds(),
            "UpToDate": True,
            "Running": True,
            "Default": True,
        }


class Face:
    """An interface as its file has it."""

    def __init__(self, name):
        self.short = name.rpartition(".")[2]
        places = (os.path.join(place, f"{NAME}.{self.short}.xml") for place in PLACES)
        with open(next(filter(os.path.exists, places)), encoding="utf-8") as file:
            text = file.read()
        parser = ET.XMLParser(target=ET.TreeBuilder(insert_comments=True))  # noqa: S314 - our own
        self.element = ET.fromstring(text, parser).find("interface")  # noqa: S314 - our own
        self.methods, self.signals, self.properties, self.invalidated, self.actions = {}, {}, {}, set(), {}
        comment = ""
        for member in self.element:
            if member.tag is ET.Comment:
                comment = member.text
                continue
            arguments = [(arg.get("direction", ""), arg.get("type")) for arg in member.findall("arg")]
            match member.tag:
                case "method":
                    takes = "".join(kind for direction, kind in arguments if direction != "out")
                    gives = "".join(kind for direction, kind in arguments if direction == "out")
                    self.methods[member.get("name")] = (takes, gives)
                    if needed := NEEDS.search(comment):
                        self.actions[member.get("name")] = needed[1]
                case "signal":
                    self.signals[member.get("name")] = "".join(kind for _, kind in arguments)
                case "property":
                    self.properties[member.get("name")] = member.get("type")
                    if any(note.get("value") == "invalidates" for note in member.findall("annotation")):
                        self.invalidated.add(member.get("name"))
        for comment in [each for each in self.element if each.tag is ET.Comment]:
            self.element.remove(comment)


PROPERTIES_CHANGED = """<signal name="PropertiesChanged"><arg name="interface" type="s"/>
<arg name="changed" type="a{sv}"/><arg name="invalidated" type="as"/></signal>"""

NOTHING = {"s": "", "o": "/", "b": False, "u": 0, "t": 0, "d": 0.0, "(ss)": ("", "")}
NOTHING |= dict.fromkeys(("as", "a{sv}", "a{ss}", "aa{sv}", "a(uss)", "a(ussss)"), ())
PLAIN = {
    "s": dbus.String,
    "o": dbus.ObjectPath,
    "b": dbus.Boolean,
    "u": dbus.UInt32,
    "t": dbus.UInt64,
    "d": dbus.Double,
}


def typed(signature, value):
    """A value as dbus-python wants it, so that it goes out with this signature."""
    if signature in PLAIN:
        return PLAIN[signature](value)
    if signature.startswith("a{"):
        return dbus.Dictionary(dict(value), signature=signature[2:-1])
    if signature.startswith("("):
        parts = zip(split(signature[1:-1]), value, strict=True)
        return dbus.Struct([typed(each, one) for each, one in parts], signature=signature[1:-1])
    return dbus.Array([typed(signature[1:], each) for each in value], signature=signature[1:])


def split(signature):
    return [str(each) for each in dbus.Signature(signature)]


def escaped(label):
    """As an element of an object path, in the way of kdumpd and systemd."""
    return "".join(
        each if re.fullmatch(r"[A-Za-z]" if place == 0 else r"[A-Za-z0-9]", each) else f"_{ord(each):02x}"
        for place, each in enumerate(str(label).encode().decode("latin-1"))
    )


def microseconds():
    return time.time_ns() // 1000


def error(name, text):
    return dbus.exceptions.DBusException(text, name=name)
