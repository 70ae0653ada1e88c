"""Hearing of changes, with the inotify of this machine."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kdumpd.host.doors import Facts
from kdumpd.host.real import RealFiles
from kdumpd.host.watch import Watch, sysfs_signature

CONF = "/etc/kdump.conf"
HOOKS = "/etc/kdump/pre.d"
MARK = "/etc/mark"


def mount(source: str, target: str) -> None:
    """Bind one folder over another, in the mount namespace of this test; skip the test where that is not allowed."""
    done = subprocess.run(["mount", "--bind", source, target], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")


class Ear:
    """A watch on a root directory, and what it said."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said: asyncio.Queue[str] = asyncio.Queue()
        self.watch = Watch(RealFiles(str(root)), self.said.put_nowait)

    async def cover(self, *paths: str) -> None:
        """Covered, and told so: everything from here on is to be heard."""
        assert self.watch.cover(frozenset((*paths, MARK))) == ()
        assert (await self.said.get()).endswith("is watched now")

    async def hears(self, path: str) -> None:
        """Something of this path, and of nothing else before."""
        assert await self.said.get() == f"{path} changed"

    def mark(self) -> None:
        """One event, and only one, of a path of our own."""
        mark = self.root / MARK.lstrip("/")
        if mark.is_symlink():
            mark.unlink()
        else:
            mark.symlink_to("nowhere")

    async def settles(self) -> None:
        """Everything that was done so far has been said: the mark is the last to be heard."""
        self.mark()
        while await self.said.get() != f"{MARK} changed":
            pass


@pytest.fixture
async def ear(tmp_path: Path) -> AsyncIterator[Ear]:
    (tmp_path / "etc/kdump/pre.d").mkdir(parents=True)
    (tmp_path / "etc/kdump.conf").write_text("path /var/crash\n")
    threads = threading.active_count()
    ear = Ear(tmp_path)
    yield ear
    assert threading.active_count() == threads
    ear.watch.stop()


async def test_an_editor_that_renames_over(ear: Ear) -> None:
    await ear.cover(CONF)
    (ear.root / "etc/.kdump.conf.new").write_text("path /b\n")
    (ear.root / "etc/.kdump.conf.new").rename(ear.root / "etc/kdump.conf")
    await ear.hears(CONF)
    await ear.settles()
    (ear.root / "etc/kdump.conf").write_text("path /c\n")  # the new file is heard of as well
    await ear.hears(CONF)


@pytest.mark.parametrize(
    "script", ["sed -i s/var/srv/ kdump.conf", "echo x >>kdump.conf", "rm kdump.conf", "chmod 600 kdump.conf"]
)
async def test_what_people_do_in_a_shell(ear: Ear, script: str) -> None:
    await ear.cover(CONF)
    subprocess.run(["sh", "-c", script], cwd=ear.root / "etc", check=True)  # noqa: ASYNC221
    await ear.hears(CONF)


async def test_reading_and_others_are_not_heard(ear: Ear) -> None:
    await ear.cover(CONF)
    (ear.root / "etc/kdump.conf").read_text()
    (ear.root / "etc/passwd").write_text("x")
    (ear.root / "etc/kdump.conf.bak").write_text("x")
    ear.mark()
    await ear.hears(MARK)


async def test_a_file_that_is_not_there_yet(ear: Ear) -> None:
    await ear.cover("/etc/sysconfig/kdump")
    (ear.root / "etc/sysconfig").mkdir()
    await ear.hears("/etc/sysconfig/kdump")
    await ear.settles()
    (ear.root / "etc/sysconfig/kdump").write_text("x")
    await ear.hears("/etc/sysconfig/kdump")


async def test_a_folder_of_hooks(ear: Ear) -> None:
    await ear.cover(HOOKS)
    hook = ear.root / "etc/kdump/pre.d/10-hook"
    hook.write_text("#!/bin/sh\n")
    await ear.hears(HOOKS)
    await ear.settles()
    hook.chmod(0o755)
    await ear.hears(HOOKS)


async def test_a_folder_that_is_removed_and_made_anew(ear: Ear) -> None:
    await ear.cover(HOOKS)
    (ear.root / "etc/kdump/pre.d").rmdir()
    (ear.root / "etc/kdump").rmdir()
    await ear.hears(HOOKS)
    await ear.settles()
    (ear.root / "etc/kdump/pre.d").mkdir(parents=True)
    await ear.hears(HOOKS)
    await ear.settles()
    (ear.root / "etc/kdump/pre.d/10-hook").write_text("x")
    await ear.hears(HOOKS)


async def test_a_folder_that_is_put_in_the_place_of_another(ear: Ear) -> None:
    await ear.cover(HOOKS)
    (ear.root / "etc/new/pre.d").mkdir(parents=True)
    (ear.root / "etc/kdump").rename(ear.root / "etc/old")
    (ear.root / "etc/new").rename(ear.root / "etc/kdump")
    await ear.hears(HOOKS)
    await ear.settles()
    (ear.root / "etc/kdump/pre.d/10-hook").write_text("x")
    await ear.hears(HOOKS)


async def test_a_configuration_that_is_a_link(ear: Ear) -> None:
    (ear.root / "srv").mkdir()
    (ear.root / "srv/shared.conf").write_text("x")
    (ear.root / "etc/kdump.conf").unlink()
    (ear.root / "etc/kdump.conf").symlink_to("/srv/shared.conf")
    await ear.cover(CONF)
    (ear.root / "srv/shared.conf").write_text("y")
    await ear.hears(CONF)


async def test_a_burst_is_told_in_few_words(ear: Ear) -> None:
    await ear.cover(CONF)
    with (ear.root / "etc/kdump.conf").open("a") as conf:
        for _ in range(2000):
            conf.write("#\n")
            conf.flush()
    await ear.hears(CONF)
    assert ear.said.qsize() < 2000


async def test_more_than_the_kernel_remembers_is_a_reason_to_look(ear: Ear) -> None:
    await ear.cover(CONF, HOOKS)
    most = int(RealFiles("/").read_text("/proc/sys/fs/inotify/max_queued_events"))
    with (ear.root / "etc/a").open("wb", 0) as one, (ear.root / "etc/b").open("wb", 0) as other:
        for number in range(most + 1):  # two alike in a row would be one
            (one if number % 2 else other).write(b"x")
    (ear.root / "etc/kdump.conf").write_text("unheard\n")
    said = {await ear.said.get() for _ in range(2)}
    assert said == {f"{CONF} changed", f"{HOOKS} changed"}


async def test_a_folder_that_another_is_mounted_over_is_watched_anew(ear: Ear) -> None:
    await ear.cover(CONF)
    other = ear.root / "other"
    other.mkdir()
    (other / "kdump.conf").write_text("path /x\n")
    mount(str(other), str(ear.root / "etc"))
    try:
        assert (
            ear.watch.cover(frozenset({CONF, MARK})) == ()
        )  # as the look does that the mount table asks for
        assert await ear.said.get() == "/etc is watched now"
        (other / "kdump.conf").write_text("path /y\n")
        await ear.hears(CONF)
        assert ear.said.empty()
    finally:
        subprocess.run(["umount", str(ear.root / "etc")], check=True)  # noqa: ASYNC221


async def test_one_folder_under_two_names_is_heard_under_both(ear: Ear) -> None:
    (ear.root / "twin").mkdir()
    mount(str(ear.root / "etc"), str(ear.root / "twin"))
    try:
        await ear.cover(CONF, "/twin/kdump.conf")
        (ear.root / "etc/kdump.conf").write_text("x")
        assert {await ear.said.get() for _ in range(2)} == {f"{CONF} changed", "/twin/kdump.conf changed"}
        ear.watch.cover(frozenset({CONF, MARK}))
        (ear.root / "etc/kdump.conf").write_text("y")
        await ear.hears(CONF)
    finally:
        ear.watch.stop()
        subprocess.run(["umount", str(ear.root / "twin")], check=True)  # noqa: ASYNC221


async def test_what_is_no_longer_covered_is_not_heard(ear: Ear) -> None:
    await ear.cover(CONF, HOOKS)
    ear.watch.cover(frozenset({HOOKS}))
    (ear.root / "etc/kdump.conf").write_text("x")
    (ear.root / "etc/kdump/pre.d/x").write_text("x")
    await ear.hears(HOOKS)


async def test_after_the_stop_nothing_is_said(ear: Ear) -> None:
    await ear.cover(CONF)
    ear.watch.stop()
    (ear.root / "etc/kdump.conf").write_text("x")
    assert ear.said.empty()


async def test_a_disk_that_fails_silences_nothing(tmp_path: Path) -> None:
    class Failing(RealFiles):
        is_failing = False

        def stat(self, path: str) -> Facts:
            if self.is_failing:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().stat(path)

    (tmp_path / "etc").mkdir()
    files, said = Failing(str(tmp_path)), asyncio.Queue[str]()
    watch = Watch(files, said.put_nowait)
    try:
        watch.cover(frozenset({CONF}))
        assert (await said.get()).endswith("is watched now")
        files.is_failing = True
        (tmp_path / "etc/kdump.conf").write_text("x")
        assert await said.get() == f"{CONF} changed"
        assert watch.cover(frozenset({CONF})) == ()
    finally:
        watch.stop()


async def test_one_folder_too_many_silences_no_other(tmp_path: Path) -> None:
    class Refusing(RealFiles):
        refused = ""

        def outside(self, path: str) -> str:
            if path == self.refused:  # as inotify_add_watch(2) does past max_user_watches
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().outside(path)

        def stat(self, path: str) -> Facts:  # this is not refused
            return RealFiles(self.root).stat(path)

    (tmp_path / "etc/kdump/pre.d").mkdir(parents=True)
    (tmp_path / "boot").mkdir()
    files, said = Refusing(str(tmp_path)), asyncio.Queue[str]()
    watch = Watch(files, said.put_nowait)
    try:
        assert watch.cover(frozenset({HOOKS})) == ()
        assert (await said.get()).endswith("is watched now")
        files.refused = "/boot"
        (problem,) = watch.cover(frozenset({HOOKS, "/boot/vmlinuz"}))
        assert problem.code == "watch-limit"
        (tmp_path / "etc/kdump/pre.d/10-hook").write_text("x")
        assert await said.get() == "/ is watched now"
        assert await said.get() == f"{HOOKS} changed"
    finally:
        watch.stop()


async def test_a_kernel_that_allows_no_watch_is_told_and_no_fault(ear: Ear) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # which are in use: there is no number left
    try:
        (problem,) = ear.watch.cover(frozenset({CONF}))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert problem.code == "watch-limit"
    assert not problem.is_error
    await ear.cover(CONF)  # and it is tried again


def test_the_signature_of_sysfs_changes_with_what_the_kernel_says(tmp_path: Path) -> None:
    files = RealFiles(str(tmp_path))
    before = sysfs_signature(files)
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "sys/kernel/kexec_crash_loaded").write_text("1\n")
    loaded = sysfs_signature(files)
    assert loaded != before
    (tmp_path / "sys/kernel/kexec_crash_loaded").write_text("0\n")
    assert sysfs_signature(files) not in {before, loaded}


async def test_a_link_above_a_path_is_heard_of_and_not_what_else_lies_behind_it(ear: Ear) -> None:
    (ear.root / "srv/one/pre.d").mkdir(parents=True)
    (ear.root / "srv/two/pre.d").mkdir(parents=True)
    shutil.rmtree(ear.root / "etc/kdump")
    (ear.root / "etc/kdump").symlink_to("../srv/one")
    await ear.cover(HOOKS)
    (ear.root / "srv/one/unrelated").write_text("x")
    (ear.root / "etc/new").symlink_to("../srv/two")
    (ear.root / "etc/new").rename(ear.root / "etc/kdump")
    await ear.hears("/etc/kdump")
    await ear.settles()
    (ear.root / "srv/two/pre.d/10-hook").write_text("true\n")  # what it leads to now is watched
    await ear.hears(HOOKS)


async def test_each_link_on_the_way_to_a_file_is_heard_of(ear: Ear) -> None:
    for name, target in (("one", "two"), ("two", "../srv/three"), ("other", "x")):
        (ear.root / "etc" / name).symlink_to(target)
    await ear.cover("/etc/one")
    (ear.root / "etc/other").rename(ear.root / "etc/two")
    await ear.hears("/etc/one")


async def test_a_path_of_a_thousand_folders_is_covered_like_any_other(tmp_path: Path) -> None:
    said: asyncio.Queue[str] = asyncio.Queue()
    watch = Watch(RealFiles("/"), said.put_nowait)
    deep = f"{tmp_path}/etc{'/d' * 1000}"
    try:
        assert watch.cover(frozenset({deep})) == ()
        assert (await said.get()).endswith("is watched now")
        (tmp_path / "etc").mkdir()
        assert await said.get() == f"{deep} changed"
    finally:
        watch.stop()


async def test_links_in_circles_are_heard_of_as_they_are(ear: Ear) -> None:
    (ear.root / "etc/one").symlink_to("two")
    (ear.root / "etc/two").symlink_to("one")
    await ear.cover("/etc/one", "/etc//kdump.conf")
    (ear.root / "etc/one").unlink()
    await ear.hears("/etc/one")
    await ear.settles()
    (ear.root / "etc/kdump.conf").write_text("x")
    await ear.hears("/etc//kdump.conf")
