"""What worked in RHEL 6 works here: its default file, each of its examples, and every word that was dropped since."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kdumpd.core.config import Config, FailureAction, read
from kdumpd.core.document import parse
from kdumpd.core.targets import Ssh

FILE = "/etc/kdump.conf"
RHEL_6 = (Path(__file__).parent / "rhel6-kdump.conf").read_text()


def config_of(text: str) -> Config:
    """The Config of a text that has no error."""
    reading = read(parse(text), file=FILE)
    assert reading.config is not None, reading.problems
    return reading.config


def test_the_file_of_rhel_6_is_accepted() -> None:
    config = config_of(RHEL_6)
    assert read(parse(RHEL_6), file=FILE).problems == ()
    assert config.path == "/var/crash"
    assert config.core_collector == ("makedumpfile", "-c", "--message-level", "1", "-d", "31")
    assert config.target is None


EXAMPLES = re.findall(r"^#(?=\w)(.*)$", RHEL_6, flags=re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_of_rhel_6_is_accepted(example: str) -> None:
    """But for the one whose address was taken out of the document."""
    lines = RHEL_6.splitlines()
    if example.split(maxsplit=1)[0] == "core_collector":
        lines = [line for line in lines if not line.startswith("core_collector")]
    if example == "core_collector scp":
        lines.append("ssh root@host")
    reading = read(parse("\n".join([*lines, example, ""])), file=FILE)
    assert (reading.config is None) == (example == "net [email protected]")


def test_a_whole_configuration_of_rhel_6() -> None:
    """Every directive that today's tools have dropped, at once."""
    config = config_of(
        "net root@dumps.example.com\n"
        "path /srv/crash\n"
        "core_collector makedumpfile -c --message-level 1 -d 31\n"
        "disk_timeout 30\nlink_delay 60\ndebug_mem_level 3\n"
        "options bnx2 disable_msi=1\nblacklist drm radeon\nblacklist snd\n"
        "default mount_root_run_init\n"
        "fence_kdump_nodes node1 node2\nfence_kdump_args -p 7410 -f auto -c 0 -i 10\n"
        "Kdump_not_supported_on_Xen_domU_guest\n"
    )
    assert config.target == Ssh(user="root", host="dumps.example.com")
    assert config.core_collector == ("makedumpfile", "-F", "-c", "--message-level", "1", "-d", "31")
    assert (config.disk_timeout, config.link_delay, config.debug_mem_level) == (30, 60, 3)
    assert config.module_options == (("bnx2", "disable_msi=1"),)
    assert config.blacklist == ("drm", "radeon", "snd")
    assert config.failure_action is FailureAction.DUMP_TO_ROOTFS
