"""Which shared directory a dump goes to, and what the capture kernel loads for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kdumpd.core import config, locate
from kdumpd.core.document import parse
from kdumpd.core.driver import Driver
from kdumpd.core.located import Search
from kdumpd.core.machine import Machine, Mount, SharedDirectory
from kdumpd.core.targets import TargetKind
from tests.core.plain import PLAIN

CHAIN = (
    Driver(name="virtiofs", subsystem="virtio", module="virtiofs"),
    Driver(name="virtio-pci", subsystem="pci", module="virtio_pci"),
    Driver(name="pcieport", subsystem="pci"),
)
MACHINE = replace(PLAIN, shares=(SharedDirectory(tag="dumps", drivers=CHAIN),))


def search(text: str, machine: Machine = MACHINE) -> Search:
    reading = config.read(parse(text), file="/etc/kdump.conf")
    assert reading.config is not None, reading.problems
    return locate.target(reading.config, machine)


@pytest.mark.shows("virtiofs")
def test_a_shared_directory_is_found_by_its_tag_with_the_drivers_of_its_device() -> None:
    located = search("virtiofs dumps\npath /crash\n").located
    assert located is not None
    assert (located.kind, located.name, located.directory) == (TargetKind.VIRTIOFS, "dumps", "/crash")
    assert located.modules == ("virtio_pci", "virtiofs")
    assert located.directory_prefix == "127.0.0.1"


def test_an_unknown_tag_is_refused_with_those_there_are() -> None:
    (problem,) = search("virtiofs dump\n").problems
    assert (problem.code, problem.is_error, problem.line) == ("target-not-found", True, 1)
    assert "dumps" in problem.hint


def test_where_the_kernel_does_not_tell_the_tag_is_believed_with_a_warning() -> None:
    outcome = search("virtiofs dumps\n", replace(MACHINE, shares=None))
    assert outcome.located is not None
    assert outcome.located.modules == ("virtio_pci", "virtiofs")
    assert [(problem.code, problem.is_error) for problem in outcome.problems] == [("target-unproven", False)]


def test_a_tag_that_is_mounted_is_believed_without_one() -> None:
    mounts = (Mount(target="/mnt", source="dumps", fstype="virtiofs", number="0:40"),)
    outcome = search("virtiofs dumps\n", replace(MACHINE, shares=None, mounts=mounts))
    assert outcome.located is not None
    assert outcome.problems == ()


@pytest.mark.shows("path")
def test_a_path_on_a_shared_directory_makes_it_the_target() -> None:
    mounts = (Mount(target="/var/crash", source="dumps", fstype="virtiofs", number="0:40"),)
    located = search("path /var/crash/here\n", replace(MACHINE, mounts=mounts)).located
    assert located is not None
    assert (located.kind, located.name, located.directory) == (TargetKind.VIRTIOFS, "dumps", "/here")


@pytest.mark.shows("dracut_args --mount")
def test_the_options_of_dracuts_mount_are_taken() -> None:
    located = search('dracut_args --mount "dumps /x virtiofs dax=never,defaults"\n').located
    assert located is not None
    assert located.mount_options == "dax=never"
    refused = search('dracut_args --mount "dumps /x virtiofs ro"\n')
    assert [problem.code for problem in refused.problems] == ["target-read-only"]
