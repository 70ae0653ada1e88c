"""The objects on a private bus, with the real reconciler and hands behind them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from kdumpd.core.dumps import Dump
from kdumpd.core.located import KDUMP_CONF
from kdumpd.host.bootloader import Bootloader
from kdumpd.host.crash import Crash, CrashTestFile
from kdumpd.host.doors import Programs
from kdumpd.host.dumps import Dumps
from kdumpd.host.history import HistoryFile
from kdumpd.host.propagate import Propagations
from kdumpd.host.pstore import Pstore
from kdumpd.host.removal import Removals
from kdumpd.host.sums import Sums
from kdumpd.host.target_test import TargetTests
from kdumpd.host.unconfirmed import UnconfirmedFile
from kdumpd.service.bus import BusError, Client, Exports, Value
from kdumpd.service.bus.standard import OBJECT_MANAGER, PROPERTIES
from kdumpd.service.bus.subscription import Match
from kdumpd.service.crashing import CrashDoor, Crashing, Surroundings
from kdumpd.service.desk import Desk
from kdumpd.service.editing import Editing
from kdumpd.service.expiring import Expiring
from kdumpd.service.finds import Finds
from kdumpd.service.history import History
from kdumpd.service.inhibiting import Inhibiting
from kdumpd.service.interfaces import kernel_path
from kdumpd.service.jobs import KEPT_SECONDS, Job
from kdumpd.service.permissions import BUS_NAME, CONFIG, DUMP, JOB, KERNEL, MANAGER, ROOT
from kdumpd.service.polkit import Polkit
from kdumpd.service.prebuilding import QUIET_SECONDS
from kdumpd.service.propagating import Propagating
from kdumpd.service.proving import Proving
from kdumpd.service.reserving import Reserving
from kdumpd.service.summing import Summing
from tests.kernels import NEXT, install_kernel
from tests.service.private_bus import DESCRIPTIONS, PrivateBus
from tests.service.test_polkit import CHALLENGE, authority
from tests.service.world import PATIENCE, World, meanwhile, world

OURS = "org.kdumpd.Kdump1.Error."
STANDARD = "org.freedesktop.DBus.Error."


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A world with its desk, and a client of it that is root."""

    world: World
    desk: Desk
    finds: Finds
    expiring: Expiring
    summing: Summing
    proving: Proving
    reserving: Reserving
    history: History
    crashing: Crashing
    client: Client


@contextlib.asynccontextmanager
async def served(
    folder: Path, bus: PrivateBus, *, boot_tools: Programs | None = None, crash: CrashDoor | None = None
) -> AsyncIterator[Served]:
    async with bus.connected() as connection, world(folder) as w:
        gate = Polkit(connection, w.clock.boottime)
        exports = Exports(connection, root=ROOT, gate=gate)
        editing = Editing(
            files=w.files,
            path=KDUMP_CONF,
            jobs=w.jobs,
            reconciler=w.reconciler,
            memory=UnconfirmedFile(w.files, path=f"{w.store.folder}/unconfirmed.json"),
        )
        finds = Finds(
            dumps=Dumps(w.files, w.programs),
            files=w.files,
            memory=f"{w.store.folder}/dumps-seen.json",
            clock=w.clock,
            captures=w.captures,
            pstore=Pstore(w.files),
        )
        proving = Proving(
            tests=TargetTests(w.files, w.programs), jobs=w.jobs, clock=w.clock, saved=lambda: ()
        )
        history = History(HistoryFile(w.files, path=f"{w.store.folder}/history.jsonl"), w.clock)

        def ended(job: Job) -> None:
            history.job_ended(job)
            editing.job_ended(job)

        w.jobs.on_result = ended
        w.followers.append(history.follow)
        summing = Summing(Sums(w.files), on_summed=finds.poke)
        expiring = Expiring(
            removals=Removals(w.files),
            finds=finds,
            summing=summing,
            clock=w.clock,
            sight=lambda: w.reconciler.sight,
        )

        def inhibitors_changed(reason: str) -> None:
            desk.status_changed()
            w.reconciler.poke(reason, urgent=True)

        inhibiting = Inhibiting(connection, inhibitors_changed)
        w.reconciler.inhibitors = inhibiting.known
        reserving = Reserving(
            bootloader=Bootloader(w.files, boot_tools or w.programs),
            jobs=w.jobs,
            sight=lambda: w.reconciler.sight,
            on_change=lambda: w.reconciler.poke("the boot menu was changed", urgent=True),
        )
        w.followers.append(lambda _status, sight: reserving.follow(sight))
        crashing = Crashing(
            crash=crash or Crash(w.files, w.programs),
            memory=CrashTestFile(w.files, path=f"{w.store.folder}/test-crash.json"),
            files=w.files,
            around=Surroundings(
                status=lambda: w.reconciler.status,
                sight=lambda: w.reconciler.sight,
                require_uninhibited=inhibiting.require_none,
                target_test=lambda: proving.last,
                is_recovering=lambda: False,
            ),
            finds=finds,
            history=history,
            clock=w.clock,
            now=w.clock.boottime,
        )
        desk = Desk(
            exports,
            DESCRIPTIONS,
            reconciler=w.reconciler,
            jobs=w.jobs,
            hands=w.hands,
            editing=editing,
            permissions=gate,
            finds=finds,
            expiring=expiring,
            proving=proving,
            propagating=Propagating(propagations=Propagations(w.files, w.programs), jobs=w.jobs),
            concerns=lambda: (),
            history=history,
            inhibiting=inhibiting,
            reserving=reserving,
            crashing=crashing,
            image_of=w.hands.ahead.image_of,
        )
        proving.on_change = desk.status_changed
        w.listeners.append(desk.status_changed)

        def found(new: tuple[Dump, ...]) -> None:
            desk.dumps_changed(new=new)
            crashing.found(finds.known)

        finds.on_change = found
        finds.marked = crashing.marked
        crashing.on_change = desk.status_changed
        finds.on_measured = lambda: w.reconciler.poke("a capture told", urgent=True)
        await w.armed()
        desk.open()
        await connection.own(BUS_NAME)
        try:
            async with bus.client(BUS_NAME) as client:
                yield Served(
                    world=w,
                    desk=desk,
                    finds=finds,
                    expiring=expiring,
                    summing=summing,
                    proving=proving,
                    reserving=reserving,
                    history=history,
                    crashing=crashing,
                    client=client,
                )
        finally:
            await exports.close()
            await inhibiting.close()


async def refused(
    client: Client, interface: str, member: str, signature: str, *arguments: object, path: str = ROOT
) -> str:
    with pytest.raises(BusError) as fault:
        await client.call(path, interface, member, signature, *arguments)  # type: ignore[arg-type]
    return fault.value.name


async def test_all_properties_and_objects_agree_with_their_files(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        for interface in (MANAGER, CONFIG):
            values = await s.client.get_all(ROOT, interface)
            assert set(values) == set(DESCRIPTIONS[interface].properties)
        objects = await s.client.objects(ROOT)
        kinds = {interface for interfaces in objects.values() for interface in interfaces}
        assert kinds == {KERNEL, JOB}
        kernel = await s.client.get(ROOT, MANAGER, "Kernel")
        assert objects[str(kernel)][KERNEL]["UpToDate"] is True
        assert objects[str(kernel)][KERNEL]["Release"] == "6.1.0-56-amd64"
        config = await s.client.get_all(ROOT, CONFIG)
        assert (config["Valid"], config["Compression"], config["Diagnostics"]) == (True, "lzo", ())
        assert config["Path"] == "/etc/kdump.conf"


async def test_a_job_is_told_of_before_its_path_is_returned(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s, s.client.signals(MANAGER) as signals:
        async with s.client.signals(OBJECT_MANAGER, "InterfacesAdded", path=ROOT) as added:
            (path,) = await s.client.call(ROOT, MANAGER, "Reload", "a{sv}", {})
            assert (await anext(added)).body[0] == path
        new = await anext(signals)
        assert (new.member, new.body[1:]) == ("JobNew", (path, "reload"))
        removed = await anext(signals)
        assert (removed.member, removed.body[1:]) == ("JobRemoved", (path, "reload", "done"))
        job = await s.client.get_all(str(path), JOB)
        assert (job["State"], job["Result"], job["ErrorName"], job["Progress"]) == ("done", "done", "", 1.0)


async def test_the_result_of_a_job_is_kept_for_a_minute(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        (path,) = await s.client.call(ROOT, MANAGER, "Reload", "a{sv}", {})
        await s.client.wait_until(str(path), JOB, lambda now: now["State"] == "done")
        await s.world.armed()
        async with s.client.signals(OBJECT_MANAGER, "InterfacesRemoved", path=ROOT) as removed:
            s.world.clock.advance(KEPT_SECONDS - 1)
            assert await s.client.get(str(path), JOB, "Result") == "done"
            s.world.clock.advance(1)
            while (gone := (await anext(removed)).body)[0] != path:
                pass
            assert gone == (path, (JOB,))
        with pytest.raises(BusError) as fault:
            await s.client.get(str(path), JOB, "Result")
        assert fault.value.name == STANDARD + "UnknownObject"


async def test_one_announcement_per_transition(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s, s.client.signals(PROPERTIES, path=ROOT) as changes:
        s.world.make_folder("/var/one")
        await s.world.edit("path /var/one\n")
        await s.world.until(lambda now: now.activity == "building")
        await s.world.armed()
        states = []
        while True:
            interface, values, _invalidated = (await anext(changes)).body
            assert isinstance(values, Mapping)
            if interface == MANAGER and "Activity" in values:
                states.append(values["Activity"])
                if states[-1] == "idle":
                    break
        assert states == ["settling", "building", "verifying", "loading", "idle"]


async def test_an_equal_request_that_waits_is_one_job(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        s.world.programs.hold("zstd")
        options: Mapping[str, Value] = {"force": True, "reason": "test"}
        (first,) = await s.client.call(ROOT, MANAGER, "Rebuild", "sa{sv}", "", options)
        await s.world.programs.reached("zstd")
        s.world.programs.let_go("zstd")
        await s.client.wait_until(str(first), JOB, lambda now: now["State"] == "done")
        s.world.programs.hold("kexec")
        (loading,) = await s.client.call(ROOT, MANAGER, "Reload", "a{sv}", {})
        await s.world.programs.reached("kexec")
        waiting = {
            str((await s.client.call(ROOT, MANAGER, "Rebuild", "sa{sv}", "", options))[0]) for _ in range(3)
        }
        assert len(waiting) == 1
        assert not waiting & {str(first), str(loading)}
        assert await s.client.get(ROOT, MANAGER, "QueuedJobs") == 1
        assert await s.client.get(ROOT, MANAGER, "ActiveJob") == loading
        s.world.programs.let_go("kexec")
        ended = await s.client.wait_until(waiting.pop(), JOB, lambda now: now["State"] == "done")
        assert ended["Result"] == "done"


async def test_a_build_can_be_cancelled_and_a_load_can_not(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        s.world.programs.hold("zstd")
        (building,) = await s.client.call(ROOT, MANAGER, "Rebuild", "sa{sv}", "", {"force": True})
        await s.world.programs.reached("zstd")
        await s.client.call(str(building), JOB, "Cancel", "a{sv}", {})
        job = await s.client.wait_until(str(building), JOB, lambda now: now["State"] == "done")
        assert (job["Result"], job["ErrorName"]) == ("cancelled", OURS + "Cancelled")
        s.world.programs.let_go("zstd")
        s.world.programs.hold("kexec")
        (loading,) = await s.client.call(ROOT, MANAGER, "Reload", "a{sv}", {})
        await s.world.programs.reached("kexec")
        with pytest.raises(BusError) as fault:
            await s.client.call(str(loading), JOB, "Cancel", "a{sv}", {})
        assert fault.value.name == OURS + "NotCancelable"
        s.world.programs.let_go("kexec")
        await s.client.wait_until(str(loading), JOB, lambda now: now["State"] == "done")


async def test_the_log_of_a_failed_build_says_what_the_builder_said(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        s.world.programs.failing["zstd"] = 1
        (path,) = await s.client.call(ROOT, MANAGER, "Rebuild", "sa{sv}", "", {"force": True})
        job = await s.client.wait_until(str(path), JOB, lambda now: now["State"] == "done")
        assert (job["Result"], job["ErrorName"]) == ("failed", OURS + "BuildFailed")
        assert "exit status 1" in str(job["ErrorMessage"])
        lines, following, is_end = await s.client.call(str(path), JOB, "GetLog", "tua{sv}", 0, 100, {})
        assert is_end is True
        assert following == len(lines)  # type: ignore[arg-type]
        error = await s.client.get(ROOT, MANAGER, "LastError")
        assert isinstance(error, tuple)
        assert error[0] == "packing-failed"
        assert s.world.is_loaded


async def test_the_end_of_a_log_is_told_to_root_alone_and_that_there_is_more_to_everyone(
    tmp_path: Path, bus: PrivateBus, can_be_nobody: None
) -> None:
    async with served(tmp_path, bus) as s, bus.client(BUS_NAME, as_nobody=True) as nobody:
        s.world.programs.hold("zstd")
        (path,) = await s.client.call(ROOT, MANAGER, "Rebuild", "sa{sv}", "", {"force": True})
        await s.world.programs.reached("zstd")
        place = str(path)
        (job,) = s.world.jobs.running
        async with bus.connected(as_nobody=True) as listening:
            match = Match(sender=BUS_NAME, interface=PROPERTIES, member="PropertiesChanged", path=place)
            async with listening.signals(match) as signals:
                job.say("what a builder says")
                s.desk.job_changed(job)
                changed = await anext(signals)
        assert changed.body[0] == JOB
        assert "LogTail" in changed.body[2]  # type: ignore[operator]
        for client, told in ((s.client, job.tail), (nobody, ())):
            assert await client.get(place, JOB, "LogTail") == told
            assert (await client.get_all(place, JOB))["LogTail"] == told
            assert (await client.objects(ROOT))[place][JOB]["LogTail"] == told
            assert await client.get(place, JOB, "Kind") == "rebuild"
        assert job.tail[-1] == "what a builder says"
        assert (
            await refused(nobody, JOB, "GetLog", "tua{sv}", 0, 100, {}, path=place)
            == f"{STANDARD}AccessDenied"
        )
        s.world.programs.let_go("zstd")
        await s.client.wait_until(place, JOB, lambda now: now["State"] == "done")


async def test_nobody_changes_anything_and_reads_everything_but_the_text(
    tmp_path: Path, bus: PrivateBus, can_be_nobody: None
) -> None:
    async with served(tmp_path, bus) as s, bus.client(BUS_NAME, as_nobody=True) as nobody:
        before, text = s.world.kexec.armed(), s.world.conf.read_text()
        assert (await nobody.get_all(ROOT, MANAGER))["State"] == "armed"
        calls: tuple[tuple[str, str, str, tuple[object, ...]], ...] = (
            (MANAGER, "Rebuild", "sa{sv}", ("", {})),
            (MANAGER, "Reload", "a{sv}", ({},)),
            (MANAGER, "Unload", "a{sv}", ({},)),
            (MANAGER, "SetEnabled", "ba{sv}", (False, {})),
            (MANAGER, "Refresh", "a{sv}", ({},)),
            (CONFIG, "GetText", "a{sv}", ({},)),
            (CONFIG, "Export", "sa{sv}", ("shell", {})),
            (CONFIG, "Set", "a{sv}sa{sv}", ({"path": "/x"}, "", {})),
            (CONFIG, "SetText", "ssa{sv}", ("", "", {})),
        )
        for interface, member, signature, arguments in calls:
            name = await refused(nobody, interface, member, signature, *arguments)
            assert name == STANDARD + "AccessDenied", member
        settings, _etag = await nobody.call(ROOT, CONFIG, "Get", "a{sv}", {})
        assert settings["path"] == "/var/crash"  # type: ignore[index, call-overload]
        assert s.world.kexec.armed() == before
        assert s.world.conf.read_text() == text


@pytest.mark.parametrize(
    ("member", "signature", "arguments"),
    [
        ("Rebuild", "sa{sv}", ("", {"sideways": True})),
        ("Rebuild", "sa{sv}", ("", {"force": "yes"})),
        ("Reload", "a{sv}", ({"force": True},)),
        ("Describe", "a{sv}", ({"what": "all"},)),
    ],
)
async def test_an_option_that_is_not_known_is_refused(
    tmp_path: Path, bus: PrivateBus, member: str, signature: str, arguments: tuple[object, ...]
) -> None:
    async with served(tmp_path, bus) as s:
        assert await refused(s.client, MANAGER, member, signature, *arguments) == STANDARD + "InvalidArgs"


async def test_another_kernel_than_the_one_that_captures(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        assert await refused(s.client, MANAGER, "Rebuild", "sa{sv}", "5.4.0", {}) == OURS + "KernelNotFound"


async def test_unloaded_until_it_is_loaded_again(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        (path,) = await s.client.call(ROOT, MANAGER, "Unload", "a{sv}", {})
        job = await s.client.wait_until(str(path), JOB, lambda now: now["State"] == "done")
        assert job["Result"] == "done"
        state = await s.client.get_all(ROOT, MANAGER)
        assert (state["State"], state["Protected"], state["Enabled"]) == ("disabled", False, True)
        assert await refused(s.client, MANAGER, "Rebuild", "sa{sv}", "", {}) == OURS + "Failed"
        (path,) = await s.client.call(ROOT, MANAGER, "Reload", "a{sv}", {})
        await s.client.wait_until(str(path), JOB, lambda now: now["State"] == "done")
        assert await s.client.get(ROOT, MANAGER, "State") == "armed"


async def test_validate_tells_lines_and_changes_nothing(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        ok, problems = await s.client.call(
            ROOT, CONFIG, "Validate", "sa{sv}", "path /x\nfoo bar\ndefault reboot\n", {}
        )
        assert ok is False
        assert [each[:3] for each in problems] == [  # type: ignore[union-attr, index]
            (2, "error", "unknown-directive"),
            (3, "warning", "deprecated-default"),
        ]
        ok, problems = await s.client.call(ROOT, CONFIG, "Validate", "sa{sv}", "path /x\n", {})
        assert (ok, problems) == (True, ())


async def test_set_checks_dry_runs_and_unsets(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        text = s.world.conf.read_text()
        _settings, etag = await s.client.call(ROOT, CONFIG, "Get", "a{sv}", {})

        async def attempt(changes: dict[str, object], options: dict[str, object]) -> tuple[object, ...]:
            return await s.client.call(ROOT, CONFIG, "Set", "a{sv}sa{sv}", changes, etag, options)  # type: ignore[arg-type]

        for wrong in ({"sideways": "1"}, {"core_collector": "frobnicate"}):
            with pytest.raises(BusError) as fault:
                await attempt(dict(wrong), {})
            assert fault.value.name == OURS + "InvalidConfig"
        with pytest.raises(BusError) as fault:
            await attempt({"path": 7}, {})
        assert fault.value.name == STANDARD + "InvalidArgs"
        new, job = await attempt({"path": "/var/one"}, {"dry-run": True})
        assert job == "/"
        assert new != etag
        assert s.world.conf.read_text() == text
        same, job = await attempt({"path": "/var/crash"}, {})
        assert (same, job) == (etag, "/")
        async with s.client.signals(CONFIG, "Changed") as changed:
            _new, job = await attempt({"path": "", "blacklist": ("one", "two")}, {})
            ended = await s.client.wait_until(str(job), JOB, lambda now: now["State"] == "done")
            assert ended["Result"] == "done", ended["ErrorMessage"]
            body = (await anext(changed)).body
            assert set(body[1]) == {"path", "blacklist"}  # type: ignore[arg-type]
            assert body[2] == "bus"
        assert s.world.conf.read_text() == "# where dumps go\nblacklist one\nblacklist two\n"


async def test_a_failed_build_takes_the_text_back_only_where_it_is_still_ours(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with served(tmp_path, bus) as s:
        before = s.world.conf.read_text()
        s.world.make_folder("/var/one")
        text = "path /var/one\nextra_modules fuse\n"
        for rolls_back in (True, False):
            s.world.programs.failing["zstd"] = 1
            _text, etag = await s.client.call(ROOT, CONFIG, "GetText", "a{sv}", {})
            _new, job = await s.client.call(
                ROOT,
                CONFIG,
                "SetText",
                "ssa{sv}",
                text,
                etag,
                {"rollback-on-failure": rolls_back},
            )
            ended = await s.client.wait_until(str(job), JOB, lambda now: now["State"] == "done")
            assert ended["Result"] == "failed"
            assert ("put back" in str(ended["ErrorMessage"])) is rolls_back
            assert s.world.conf.read_text() == (before if rolls_back else text)


@pytest.mark.parametrize("by_hand", ["path /var/by-hand\n", None])
async def test_an_edit_by_hand_while_a_set_is_under_way_is_a_conflict(
    tmp_path: Path, bus: PrivateBus, by_hand: str | None
) -> None:
    """It comes when the change was checked and written beside, and is all but in the place of the file."""
    async with served(tmp_path, bus) as s:
        _settings, etag = await s.client.call(ROOT, CONFIG, "Get", "a{sv}", {})

        def edit() -> None:
            if by_hand is None:
                s.world.conf.unlink()
            else:
                s.world.conf.write_text(by_hand)

        s.world.files.on_create[KDUMP_CONF] = edit
        name = await refused(
            s.client, CONFIG, "Set", "a{sv}sa{sv}", {"path": "/var/one"}, etag, {"rebuild": True}
        )
        assert name == OURS + "Conflict"
        assert (s.world.conf.read_text() if s.world.conf.exists() else None) == by_hand
        assert not s.world.jobs.queued


async def test_export_knows_two_formats_and_no_text_with_errors(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        (script,) = await s.client.call(ROOT, CONFIG, "Export", "sa{sv}", "shell", {})
        assert 'kdumpctl config set --file "$new" -- path /var/crash\n' in str(script)
        (tasks,) = await s.client.call(ROOT, CONFIG, "Export", "sa{sv}", "ansible", {})
        assert json.dumps(s.world.conf.read_text()) in str(tasks)
        assert await refused(s.client, CONFIG, "Export", "sa{sv}", "chef", {}) == STANDARD + "InvalidArgs"
        s.world.conf.write_text("foo bar\n")
        assert await refused(s.client, CONFIG, "Export", "sa{sv}", "shell", {}) == OURS + "InvalidConfig"


async def test_describe_is_json_with_plan_and_state(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        (text,) = await s.client.call(ROOT, MANAGER, "Describe", "a{sv}", {})
        told = json.loads(str(text))
        assert told["status"]["state"] == "armed"
        assert told["plan"]["target"]["fstype"] == "ext4"
        assert told["loaded"]["load"]


async def test_the_history_tells_jobs_and_states_the_newest_first(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        s.world.programs.failing["zstd"] = 1
        (path,) = await s.client.call(
            ROOT, MANAGER, "Rebuild", "sa{sv}", "", {"force": True, "reason": "test"}
        )
        await s.client.wait_until(str(path), JOB, lambda now: now["State"] == "done")
        await s.world.armed()
        (path,) = await s.client.call(ROOT, MANAGER, "Unload", "a{sv}", {})
        await s.client.wait_until(str(path), JOB, lambda now: now["State"] == "done")
        (told_entries,) = await s.client.call(ROOT, MANAGER, "GetHistory", "ua{sv}", 0, {})
        entries = cast("tuple[Mapping[str, Value], ...]", told_entries)
        told = [(each["kind"], each["result"], each["why"], each["error"]) for each in entries]
        assert told[:4] == [
            ("unload", "done", "", ""),
            ("state", "disabled", "disabled", ""),
            ("rebuild", "failed", "test", "packing-failed"),
            ("rebuild", "done", "kdumpd started", ""),
        ]
        assert ("state", "armed", "armed", "") in told
        failed = entries[2]
        assert "exit status 1" in str(failed["message"])
        assert failed["image"]
        assert failed["load"]
        assert isinstance(failed["seconds"], float)
        assert failed["time"] == s.world.clock.now_us()
        (two,) = await s.client.call(ROOT, MANAGER, "GetHistory", "ua{sv}", 2, {})
        assert two == entries[:2]
        await s.history.write()  # what was not yet written, and what was, is the same history
        assert await s.client.call(ROOT, MANAGER, "GetHistory", "ua{sv}", 0, {}) == (entries,)


async def test_a_dump_is_told_of_once(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        crash = s.world.root / "var/crash"
        old = crash / "127.0.0.1-2026-01-02-03:04:05"
        old.mkdir()
        (old / "vmcore").write_bytes(b"core")
        await s.finds.look(s.world.reconciler.sight)  # what was there before us is nothing new
        new = crash / "127.0.0.1-2026-01-03-03:04:05"
        new.mkdir()
        (new / "vmcore").write_bytes(b"core")
        log = (
            "[    1.0] sysrq: Trigger a crash\n[    1.1] Kernel panic - not syncing: sysrq triggered crash\n"
        )
        (new / "vmcore-dmesg.txt").write_text(log)
        async with s.client.signals(MANAGER, "DumpFound") as found:
            await s.finds.look(s.world.reconciler.sight)
            (path,) = (await anext(found)).body
            dump = await s.client.get_all(str(path), DUMP)
            assert (dump["Size"], dump["Complete"]) == (4, True)
            assert dump["Reason"] == "Kernel panic - not syncing: sysrq triggered crash"
            assert dump["Path"] == f"/var/crash/{new.name}"
            assert await s.client.get(ROOT, MANAGER, "LastDump") == path
            await s.finds.look(s.world.reconciler.sight)
            await s.client.call(ROOT, MANAGER, "Refresh", "a{sv}", {})
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):  # whatever was sent before the reply has arrived by now
                    await anext(found)
        seen = json.loads((s.world.root / "var/lib/kdumpd/dumps-seen.json").read_text())
        assert len(seen) == 2


async def test_a_target_is_tested_when_asked_and_told_by_the_manager(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        assert await s.client.get(ROOT, MANAGER, "TargetTestResult") == ""
        async with meanwhile(s.proving.run(lambda: s.world.reconciler.sight)):
            (path,) = await s.client.call(ROOT, CONFIG, "TestTarget", "a{sv}a{sv}", {}, {})
            job = await s.client.wait_until(str(path), JOB, lambda job: job["State"] == "done")
        # Nothing is mounted in a simulation, so the test fails; and the machine is none the worse for it.
        assert (job["Kind"], job["Result"]) == ("target-test", "failed")
        assert job["ErrorName"] == f"{OURS}TargetUnreachable"
        assert await s.client.get(ROOT, MANAGER, "TargetTestResult") == "failed"
        assert "nothing is mounted" in str(await s.client.get(ROOT, MANAGER, "TargetTestMessage"))
        assert await s.client.get(ROOT, MANAGER, "State") == "armed"


async def test_without_an_ssh_target_no_key_is_given(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        with pytest.raises(BusError) as refusal:
            await s.client.call(ROOT, CONFIG, "Propagate", "a{sv}", {"password": "word"})
        assert refusal.value.name == f"{OURS}NotSupported"
        with pytest.raises(BusError) as strange:
            await s.client.call(ROOT, CONFIG, "Propagate", "a{sv}", {"passwort": "word"})
        assert strange.value.name == f"{STANDARD}InvalidArgs"


@pytest.mark.parametrize(
    "target",
    [
        {"type": "ssh"},
        {"type": "filesystem", "device": "/etc/passwd", "fstype": "ext4", "directory": "/"},
        {"type": "filesystem", "device": "/dev/vda", "fstype": "proc", "directory": "/"},
        {"type": "filesystem", "device": "/dev/vda", "fstype": "ext4", "directory": "/a/../../etc"},
        {"type": 7},
        {"type": "nfs", "server": "your bank: type your PIN", "export": "/", "directory": "/"},
        {"type": "nfs", "server": "a" * 256, "export": "/", "directory": "/"},
    ],
)
async def test_what_is_no_target_is_not_tested(
    tmp_path: Path, bus: PrivateBus, target: Mapping[str, Value]
) -> None:
    async with served(tmp_path, bus) as s:
        before = len(s.world.jobs.known)
        name = await refused(s.client, CONFIG, "TestTarget", "a{sv}a{sv}", target, {})
        assert name == f"{STANDARD}InvalidArgs"
        assert len(s.world.jobs.known) == before


@pytest.mark.parametrize("has_plan", [True, False])
async def test_nobody_writes_what_the_question_for_a_password_shows(
    tmp_path: Path, bus: PrivateBus, can_be_nobody: None, *, has_plan: bool
) -> None:
    text = "6.1. Your bank needs to know who you are: type your PIN"
    async with served(tmp_path, bus) as s, authority(bus, CHALLENGE) as polkit:
        if not has_plan:
            await s.world.edit("frobnicate\n")
            await s.world.until(lambda now: now.state == "stale")
        async with bus.client(BUS_NAME, as_nobody=True) as nobody:
            name = await refused(nobody, MANAGER, "Rebuild", "sa{sv}", text, {})
            assert name == OURS + "KernelNotFound"
            for target in ({"type": text}, {"type": "raw", "device": "/dev/vda", "server": text}):
                await refused(nobody, CONFIG, "TestTarget", "a{sv}a{sv}", target, {})
            assert not polkit.asked
            await refused(nobody, MANAGER, "Rebuild", "sa{sv}", "6.1.0-56-amd64", {})
            assert {str(question[2]["kernel"]) for question in polkit.prompts} == {"6.1.0-56-amd64"}  # type: ignore[index, call-overload]


async def test_an_image_that_was_built_ahead_is_announced_and_so_is_its_end(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with served(tmp_path, bus) as s:
        w = s.world
        w.followers.append(w.prebuilding.follow)
        w.prebuilding.on_prepared = s.desk.kernels_changed

        async def announced_after_a_rest() -> Mapping[str, Value]:
            w.reconciler.poke("something changed")
            await w.clock.until_settling()
            w.clock.advance(0.3)
            await w.clock.until_asleep(QUIET_SECONDS)
            async with s.client.signals(PROPERTIES, path=kernel_path(NEXT)) as changes:
                w.clock.advance(QUIET_SECONDS)
                async with asyncio.timeout(PATIENCE):
                    return cast("Mapping[str, Value]", (await anext(changes)).body[1])

        async with meanwhile(w.prebuilding.run()):
            install_kernel(w.root)
            values = await announced_after_a_rest()
            assert (values["UpToDate"], bool(values["Initramfs"]), bool(values["Built"])) == (
                True,
                True,
                True,
            )
            (w.root / "etc/kdumpd.toml").write_text("prebuild_kernels = 0\nstore_budget_mib = 0\n")
            values = await announced_after_a_rest()
            assert (values["Initramfs"], values["InitramfsSize"], values["Built"]) == ("", 0, 0)
