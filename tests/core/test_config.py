"""What each directive of kdump.conf comes to, and each way in which it can be wrong."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from pydantic import ValidationError

from kdumpd.core.config import Config, DracutMount, FailureAction, FinalAction, read
from kdumpd.core.document import parse
from kdumpd.core.problems import Problem, Severity
from kdumpd.core.settings import DEFAULT_COLLECTOR, SETTINGS
from kdumpd.core.targets import BLOCK_FILESYSTEMS, Filesystem, Nfs, Raw, Ssh, Target, Virtiofs

FILE = "/etc/kdump.conf"


def problems_of(text: str) -> tuple[Problem, ...]:
    return read(parse(text), file=FILE).problems


def codes(text: str) -> list[tuple[int, str]]:
    return [(problem.line, problem.code) for problem in problems_of(text)]


def config_of(text: str) -> Config:
    """The Config of a text that has no error."""
    reading = read(parse(text), file=FILE)
    assert reading.config is not None, reading.problems
    return reading.config


def test_an_empty_file_is_all_defaults() -> None:
    assert config_of("") == Config()
    assert problems_of("") == ()


@pytest.mark.parametrize("name", [name for name, row in SETTINGS.items() if row.default])
def test_the_defaults_of_the_table_are_those_of_the_config(name: str) -> None:
    row = SETTINGS[name]
    written = config_of(f"{name} {row.default}\n")
    assert getattr(written, row.config_field) == getattr(Config(), row.config_field)
    assert problems_of(f"{name} {row.default}\n") == ()


@pytest.mark.parametrize(
    "row", [row for row in SETTINGS.values() if row.needs_value], ids=lambda row: row.name
)
def test_every_directive_wants_a_value(row: object) -> None:
    name = getattr(row, "name", "")
    for line in (f"{name}\n", f"{name} # a comment\n", f'{name} ""\n', f'{name} "  "\n'):
        assert (1, "missing-value") in codes(line), line


@pytest.mark.parametrize("row", SETTINGS.values(), ids=lambda row: row.name)
def test_every_row_fills_a_field_of_the_config(row: object) -> None:
    field = getattr(row, "config_field", "")
    assert field in Config.model_fields or not getattr(row, "needs_value", True)


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("raw /dev/sda5", Raw(device="/dev/sda5")),
        ("ext4 /dev/sda3", Filesystem(fstype="ext4", device="/dev/sda3")),
        ("ext4 LABEL=/boot", Filesystem(fstype="ext4", device="LABEL=/boot")),
        ('xfs "LABEL=my disk"', Filesystem(fstype="xfs", device="LABEL=my disk")),
        ('btrfs UUID="abc"', Filesystem(fstype="btrfs", device="UUID=abc")),
        ("nfs my.server.com:/export/tmp", Nfs(host="my.server.com", export="/export/tmp")),
        ("nfs4 my.server.com:/export/tmp", Nfs(host="my.server.com", export="/export/tmp", version="4")),
        ("ssh user@my.server.com", Ssh(user="user", host="my.server.com")),
        ("net user@my.server.com", Ssh(user="user", host="my.server.com")),
        ("net my.server.com:/export/tmp", Nfs(host="my.server.com", export="/export/tmp")),
        ("virtiofs kdump", Virtiofs(tag="kdump")),
        *((f"{fstype} /dev/x", Filesystem(fstype=fstype, device="/dev/x")) for fstype in BLOCK_FILESYSTEMS),
    ],
)
@pytest.mark.shows("nfs", "nfs4", "ssh", "net", "virtiofs", "raw")
def test_targets(line: str, target: Target) -> None:
    config = config_of(line)
    assert config.target == target
    assert config.target_directive == line.split(maxsplit=1)[0]
    assert config.lines == {line.split(maxsplit=1)[0]: 1}


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("path /var/crash", "path", "/var/crash"),
        ("path /", "path", "/"),
        ("path //var//crash/./", "path", "/var/crash"),
        ('path "/var/my crash"', "path", "/var/my crash"),
        ("core_collector cp --sparse=always", "core_collector", ("cp", "--sparse=always")),
        ("core_collector makedumpfile -c -d 31", "core_collector", ("makedumpfile", "-c", "-d", "31")),
        ("core_collector /usr/sbin/makedumpfile -d31", "core_collector", ("/usr/sbin/makedumpfile", "-d31")),
        ("kdump_pre /a", "kdump_pre", "/a"),
        ("kdump_post /var/crash/scripts/post.sh", "kdump_post", "/var/crash/scripts/post.sh"),
        ("kdump_emergency /a", "kdump_emergency", "/a"),
        ("extra_bins /bin/a  /bin/b /bin/a", "extra_bins", ("/bin/a", "/bin/b")),
        ("extra_modules gfs2 nvme-tcp", "extra_modules", ("gfs2", "nvme-tcp")),
        ("extra_modules gfs2.ko.xz", "extra_modules", ("gfs2",)),
        ("options e1000 debug=1 x=2", "module_options", (("e1000", "debug=1 x=2"),)),
        ("options a x=1\noptions b z\noptions a y=2", "module_options", (("a", "x=1 y=2"), ("b", "z"))),
        ("options\ta\tx=1", "module_options", (("a", "x=1"),)),
        ("options virtio_blk a=1\noptions virtio-blk b=2", "module_options", (("virtio_blk", "a=1 b=2"),)),
        ("blacklist a b\nblacklist c a", "blacklist", ("a", "b", "c")),
        ("sshkey /root/.ssh/other", "sshkey", "/root/.ssh/other"),
        ("sshkey key", "sshkey", "/root/.ssh/kdump_id_rsa"),
        ("failure_action dump_to_rootfs", "failure_action", FailureAction.DUMP_TO_ROOTFS),
        ("failure_action shell", "failure_action", FailureAction.SHELL),
        ("default mount_root_run_init", "failure_action", FailureAction.DUMP_TO_ROOTFS),
        ("default dump_to_rootfs", "failure_action", FailureAction.DUMP_TO_ROOTFS),
        ("failure_action mount_root_run_init", "failure_action", FailureAction.DUMP_TO_ROOTFS),
        ("final_action poweroff", "final_action", FinalAction.POWEROFF),
        ("disk_timeout 30", "disk_timeout", 30),
        ("link_delay 060", "link_delay", 60),
        ("debug_mem_level 3", "debug_mem_level", 3),
        ("force_rebuild 1", "force_rebuild", True),
        ("force_no_rebuild 1", "force_no_rebuild", True),
        ("force_rebuild 1\nforce_no_rebuild 0", "force_rebuild", True),
        ('dracut_args --omit-drivers "cfg80211 snd"', "dracut_args", ("--omit-drivers", "cfg80211 snd")),
        ("fence_kdump_nodes node1 node2 ::1", "fence_kdump_nodes", ("node1", "node2", "::1")),
        ("fence_kdump_args -p 7410 -f auto", "fence_kdump_args", ("-p", "7410", "-f", "auto")),
        ("auto_reset_crashkernel no", "auto_reset_crashkernel", False),
    ],
)
@pytest.mark.shows("auto_reset_crashkernel", "fence_kdump_args", "sshkey", "kdump_emergency", "extra_bins")
def test_values(line: str, field: str, value: object) -> None:
    assert getattr(config_of(line), field) == value


@pytest.mark.parametrize(
    ("text", "failure", "final"),
    [
        ("default halt", "halt", "halt"),
        ("default poweroff", "poweroff", "poweroff"),
        ("default reboot", "reboot", "reboot"),
        ("default shell", "shell", "reboot"),
        ("default mount_root_run_init", "dump_to_rootfs", "reboot"),
        ("default halt\nfinal_action reboot", "halt", "reboot"),
        ("final_action poweroff\ndefault halt", "halt", "poweroff"),
        ("failure_action halt", "halt", "reboot"),
        ("failure_action shell\nfinal_action poweroff", "shell", "poweroff"),
    ],
)
@pytest.mark.shows("default", "default mount_root_run_init")
def test_default_also_ends_a_saved_dump_as_in_rhel_6(text: str, failure: str, final: str) -> None:
    config = config_of(text)
    assert (config.failure_action, config.final_action) == (failure, final)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("path crash\next4 /dev/sda", "/crash"),
        ("path crash/\nnfs h:/e", "/crash"),
        ("path crash\nssh u@h", "crash"),
        ("path ./crash\nssh u@h", "crash"),
        ("path /crash\nssh u@h", "/crash"),
    ],
)
def test_a_relative_path_lies_below_the_target(text: str, path: str) -> None:
    assert config_of(text).path == path


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("ssh u@h", f"makedumpfile -F {DEFAULT_COLLECTOR.removeprefix('makedumpfile ')}"),
        ("raw /dev/sda", f"makedumpfile -F {DEFAULT_COLLECTOR.removeprefix('makedumpfile ')}"),
        ("nfs h:/e", DEFAULT_COLLECTOR),
        ("core_collector scp\nssh u@h", "scp"),
        ("core_collector makedumpfile -F -l -d 31\nssh u@h", "makedumpfile -F -l -d 31"),
    ],
)
@pytest.mark.shows("core_collector makedumpfile -F", "core_collector scp")
def test_the_collector_fits_the_target(text: str, argv: str) -> None:
    assert config_of(text).core_collector == tuple(argv.split())
    assert problems_of(text) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unknown x", [(1, "unknown-directive")]),
        ("path /a\npath /b", [(2, "duplicate-directive")]),
        ("path /a\npath /a\npath /a", [(2, "duplicate-directive"), (3, "duplicate-directive")]),
        ("ext4 /dev/a\nxfs /dev/b", [(2, "two-targets")]),
        ("ext4 /dev/a\next4 /dev/a", [(2, "two-targets")]),
        ("raw /dev/a\nssh u@h\nnfs h:/e", [(2, "two-targets"), (3, "two-targets")]),
        ('ssh u@h\ndracut_args --mount "/dev/a /m ext4 defaults"', [(2, "two-targets")]),
        ('dracut_args --mount "/dev/a /m ext4" --mount "/dev/b /n xfs"', [(1, "two-targets")]),
        ('dracut_args --mount "/dev/a /m"', [(1, "bad-mount")]),
        ("dracut_args --mount", [(1, "bad-mount")]),
        ('dracut_args --mount "/dev/a /m tmpfs x"', [(1, "bad-filesystem-type")]),
        ("disk_timeout x", [(1, "bad-number")]),
        ("disk_timeout -1", [(1, "bad-number")]),
        ("disk_timeout 1.5", [(1, "bad-number")]),
        ("disk_timeout ٣", [(1, "bad-number")]),
        ("disk_timeout 999999999999999999999", [(1, "bad-number")]),
        ("link_delay 60s", [(1, "bad-number")]),
        ("debug_mem_level 4", [(1, "bad-number")]),
        ("force_rebuild yes", [(1, "bad-choice")]),
        ("auto_reset_crashkernel 1", [(1, "bad-choice")]),
        ("failure_action explode", [(1, "bad-choice")]),
        ("final_action shell", [(1, "bad-choice")]),
        ("default explode", [(1, "bad-choice")]),
        (
            "default halt\nfailure_action halt",
            [(1, "deprecated-default"), (2, "contradictory-failure-actions")],
        ),
        ("force_rebuild 1\nforce_no_rebuild 1", [(2, "contradictory-rebuilds")]),
        ("path crash", [(1, "bad-path")]),
        ("path crash\nraw /dev/sda", [(1, "bad-path")]),
        ("path /var/../etc", [(1, "bad-path")]),
        ("kdump_pre pre.sh", [(1, "bad-path")]),
        ("kdump_post /a/post.sh arg", [(1, "bad-path")]),
        ("extra_bins lftp", [(1, "bad-path")]),
        ("extra_modules /lib/x.ko", [(1, "bad-module-name")]),
        ("blacklist drivers/net", [(1, "bad-module-name")]),
        ("options e1000", [(1, "missing-value")]),
        ("options a;b x=1", [(1, "bad-module-name")]),
        ("fence_kdump_nodes -x", [(1, "bad-host")]),
        ("ext4 sda3", [(1, "bad-device")]),
        ("nfs host", [(1, "bad-nfs-export")]),
        ("ssh host", [(1, "bad-ssh-destination")]),
        ("net host", [(1, "bad-nfs-export")]),
        ("core_collector dd", [(1, "unknown-collector")]),
        ("core_collector scp", [(1, "unfit-collector")]),
        ("core_collector cp\nssh u@h", [(1, "unfit-collector")]),
        ("core_collector cp\nraw /dev/sda", [(1, "unfit-collector")]),
        ("core_collector makedumpfile -d 32", [(1, "bad-dump-level")]),
        ("core_collector makedumpfile --nonsense", [(1, "unknown-collector-option")]),
        ("path /a\x00b", [(1, "bad-character")]),
        ("path /a\udce4b", [(1, "not-utf-8")]),
        ("squashfs /dev/sda", [(1, "unknown-directive")]),
        ("path = /a", [(1, "stray-equals")]),
        ("core_collector =makedumpfile -l", [(1, "stray-equals")]),
    ],
)
@pytest.mark.shows(
    "force_rebuild", "force_no_rebuild", "auto_reset_crashkernel", "fence_kdump_nodes", "link_delay"
)
def test_errors(text: str, expected: list[tuple[int, str]]) -> None:
    assert codes(text) == expected
    assert read(parse(text), file=FILE).config is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("net u@h", [(1, "deprecated-net")]),
        ("default reboot", [(1, "deprecated-default")]),
        ("default mount_root_run_init", [(1, "deprecated-value"), (1, "deprecated-default")]),
        ("path /a#b", [(1, "value-cut-by-comment")]),
        ("ext4 LABEL=my#label", [(1, "value-cut-by-comment")]),
        ("sshkey key", [(1, "bad-path")]),
        ("blacklist a.ko", [(1, "module-file-suffix")]),
        ("ssh u@h\ncore_collector makedumpfile -l", [(2, "flatten-added")]),
        ("core_collector makedumpfile -F -l", [(1, "flatten-removed")]),
        ("# na\udcefve", [(1, "not-utf-8")]),
        ("Kdump_not_supported_on_Xen_domU_guest", []),
        ("Kdump_not_supported_on_Xen_domU_guest\nKdump_not_supported_on_Xen_domU_guest yes", []),
        ("\ufeffpath /a", []),
        ("path /a\r\nraw /dev/sda\r\n", []),
        ("path /a # a comment", []),
    ],
)
@pytest.mark.shows("Kdump_not_supported_on_Xen_domU_guest", "net")
def test_warnings_let_the_file_pass(text: str, expected: list[tuple[int, str]]) -> None:
    assert codes(text) == expected
    assert read(parse(text), file=FILE).config is not None
    assert all(problem.severity is Severity.WARNING for problem in problems_of(text))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("pth /a", "did you mean path?"),
        ("Path /a", "did you mean path?"),
        ("core_colector makedumpfile", "did you mean core_collector?"),
        ("path=/a", "write path /a, with a blank and without `=`"),
        ("path = /a", "write path /a"),
        ("squashfs /dev/sda", "squashfs cannot be written to"),
        ("net u@h", "write ssh in place of net"),
        ("net h:/e", "write nfs in place of net"),
        ("default halt", "write failure_action halt, and on the next line final_action halt"),
        ("default halt\nfinal_action reboot", "write failure_action halt"),
        ("default shell", "write failure_action shell"),
        ("path crash", "write path /crash"),
    ],
)
def test_hints(text: str, hint: str) -> None:
    assert problems_of(text)[0].hint == hint


def test_all_problems_are_told_together_in_order() -> None:
    text = "path /a\nfoo\n\ndisk_timeout x\npath /b\nssh host\nlink_delay\n"
    assert codes(text) == [
        (2, "unknown-directive"),
        (4, "bad-number"),
        (5, "duplicate-directive"),
        (6, "bad-ssh-destination"),
        (7, "missing-value"),
    ]
    assert {problem.file for problem in problems_of(text)} == {FILE}
    assert [problem.key for problem in problems_of(text)] == [
        "foo",
        "disk_timeout",
        "path",
        "ssh",
        "link_delay",
    ]


def test_a_second_directive_names_both_lines() -> None:
    (problem,) = problems_of("path /a\n\npath /b\n")
    assert "line 1" in problem.message
    assert problem.line == 3
    (problem,) = problems_of("ssh u@h\n\nnfs h:/e\n")
    assert "line 1" in problem.message
    assert problem.line == 3


def test_a_refused_target_is_not_blamed_on_the_collector() -> None:
    assert codes("ssh host\ncore_collector scp\npath crash\n") == [(1, "bad-ssh-destination")]


def test_what_cannot_be_printed_is_escaped_and_long_lines_are_cut() -> None:
    (problem,) = problems_of("\x1b[31m\udcff /a")
    assert problem.message == "`\\x1b[31m\\udcff` is not a directive"
    (problem,) = problems_of("x" * 100_000)
    assert len(problem.message) < 400


@pytest.mark.parametrize(
    ("text", "target", "mount"),
    [
        (
            'dracut_args --mount "192.168.1.1:/share /mnt/test nfs4 defaults"',
            Nfs(host="192.168.1.1", export="/share", version="4"),
            DracutMount(
                device="192.168.1.1:/share", mountpoint="/mnt/test", fstype="nfs4", options="defaults"
            ),
        ),
        (
            "dracut_args --add-drivers ext2 --mount='LABEL=x /m xfs'",
            Filesystem(fstype="xfs", device="LABEL=x"),
            DracutMount(device="LABEL=x", mountpoint="/m", fstype="xfs", options=""),
        ),
    ],
)
@pytest.mark.shows("dracut_args --mount")
def test_a_mount_among_dracut_args_is_the_target(text: str, target: Target, mount: DracutMount) -> None:
    config = config_of(text)
    assert (config.target, config.dracut_mount) == (target, mount)
    assert config.target_directive == "dracut_args"


def test_lines_are_for_later_problems_and_no_part_of_the_configuration() -> None:
    config = config_of("# x\npath /a\noptions a b\noptions c d\n")
    assert config.lines == {"path": 2, "options": 3}
    assert "lines" not in config.model_dump()


def test_a_config_is_frozen() -> None:
    config = config_of("path /a")
    with pytest.raises(ValidationError, match="frozen"):
        config.path = "/b"  # type: ignore[misc]
    assert isinstance(config.lines, MappingProxyType)
    assert isinstance(Config().lines, MappingProxyType)


@pytest.mark.parametrize(
    "line", ["x{}\n", "ext4 /dev/sd{}\n", "blacklist m{}\n", "options m{} a\n", "path /{}\n"]
)
def test_a_file_of_ten_thousand_lines_is_read_to_its_end(line: str) -> None:
    text = "".join(line.format(number) for number in range(10_000))
    reading = read(parse(text), file=FILE)
    assert (reading.config is None) == bool(reading.problems)
    assert not reading.problems or reading.problems[-1].line == 10_000
