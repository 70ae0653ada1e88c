"""Every directive, wrong in every way that kdump.conf(5) forbids: the code and the line that `check --json` gives."""

from __future__ import annotations

import json

import pytest

from kdumpd.cli_files import check
from kdumpd.core.settings import SETTINGS
from kdumpd.core.targets import BLOCK_FILESYSTEMS

DEVICES = (
    ("sda3", "bad-device"),
    ("/dev/sda 3", "bad-device"),
    ("/dev/../etc/passwd", "bad-device"),
    ("LABEL=", "bad-device"),
    ("label=dump", "bad-device"),
    ("ID=dump", "bad-device"),
    ('LABEL=a"b', "bad-device"),
    ("UUID=a b", "bad-device"),
)
NUMBERS = tuple((value, "bad-number") for value in ("-1", "1.5", "ten", "0x10", "1 2", "99999999999"))
FLAGS = tuple((value, "bad-choice") for value in ("2", "yes", "true", "01"))
MODULES = (("a/b", "bad-module-name"), ("xfs,ext4", "bad-module-name"), ("-f", "bad-module-name"))
PROGRAMS = (("pre.sh", "bad-path"), ("/bin/a b", "bad-path"))
HOSTS = (
    ("nohost", "bad-nfs-export"),
    ("host:relative", "bad-nfs-export"),
    ("host:/with blank", "bad-nfs-export"),
    (":/export", "bad-host"),
    ("-oProxy:/export", "bad-host"),
    ("[::zz]:/export", "bad-host"),
)
DESTINATIONS = (
    ("host", "bad-ssh-destination"),
    ("@host", "bad-ssh-destination"),
    ("-o x@host", "bad-ssh-destination"),
    ("user@", "bad-host"),
    ("user@host:/path", "bad-host"),
    ("user@-host", "bad-host"),
)
WRONG: dict[str, tuple[tuple[str, str], ...]] = {
    **dict.fromkeys(BLOCK_FILESYSTEMS, DEVICES),
    "raw": (*DEVICES, ("LABEL=dump", "bad-device"), ("UUID=1234", "bad-device")),
    "nfs": HOSTS,
    "nfs4": HOSTS,
    "ssh": DESTINATIONS,
    "net": (*(each for each in HOSTS if "@" not in each[0]), *DESTINATIONS[1:]),
    "virtiofs": (("two words", "bad-virtiofs-tag"), ("t" * 37, "bad-virtiofs-tag")),
    "path": (("var/crash", "bad-path"), ("/var/../etc", "bad-path"), ("..", "bad-path")),
    "core_collector": (
        ("dd", "unknown-collector"),
        ("scp", "unfit-collector"),
        ("makedumpfile -d 32", "bad-dump-level"),
        ("makedumpfile -d 11,x", "bad-dump-level"),
        ("makedumpfile -d", "bad-collector-option"),
        ("makedumpfile -k", "unknown-collector-option"),
        ("makedumpfile --nonsense", "unknown-collector-option"),
        ("makedumpfile --message-level 32", "bad-collector-option"),
        ("makedumpfile --num-threads x", "bad-collector-option"),
        ("makedumpfile -E -z", "bad-collector-option"),
        ("makedumpfile -E --num-threads 3", "bad-collector-option"),
        ("makedumpfile -e", "bad-collector-option"),
        ("makedumpfile --split", "bad-collector-option"),
        ("makedumpfile --reassemble", "bad-collector-option"),
        ("makedumpfile --dump-dmesg", "bad-collector-option"),
        ("makedumpfile --check-params", "bad-collector-option"),
        ("makedumpfile -l /proc/vmcore", "bad-collector-option"),
        ("cp /proc/vmcore /var/crash", "bad-collector-option"),
    ),
    "kdump_pre": PROGRAMS,
    "kdump_post": PROGRAMS,
    "kdump_emergency": PROGRAMS,
    "extra_bins": (("ls", "bad-path"), ("/bin/ls cp", "bad-path")),
    "extra_modules": MODULES,
    "options": (("xfs", "missing-value"), ("a/b x=1", "bad-module-name")),
    "blacklist": (*MODULES, ("/lib/modules", "bad-module-name")),
    "sshkey": (("id_rsa", "bad-path"),),
    "failure_action": (("continue", "bad-choice"), ("Reboot", "bad-choice"), ("reboot halt", "bad-choice")),
    "default": (("ignore", "bad-choice"), ("mount_root", "bad-choice")),
    "final_action": (("shell", "bad-choice"), ("dump_to_rootfs", "bad-choice")),
    "disk_timeout": (*NUMBERS, ("86401", "bad-number")),
    "link_delay": (*NUMBERS, ("86401", "bad-number")),
    "debug_mem_level": (*NUMBERS, ("4", "bad-number")),
    "force_rebuild": FLAGS,
    "force_no_rebuild": FLAGS,
    "dracut_args": (
        ('--mount "/dev/sda1 /mnt"', "bad-mount"),
        ('--mount "/dev/sda1 /mnt iso9660 ro"', "bad-filesystem-type"),
        ('--mount "sda1 /mnt ext4 rw"', "bad-device"),
        ('--mount "/dev/a /m ext4 rw" --mount "/dev/b /m ext4 rw"', "two-targets"),
    ),
    "fence_kdump_nodes": (("a;b", "bad-host"), ("-x", "bad-host"), ("a,b", "bad-host")),
    "fence_kdump_args": (
        ("-x", "bad-fence-argument"),
        ("node1", "bad-fence-argument"),
        ("-p", "bad-fence-argument"),
        ("-p 0", "bad-fence-argument"),
        ("--ipport=70000", "bad-fence-argument"),
        ("-f ipx", "bad-fence-argument"),
        ("-c -1", "bad-fence-argument"),
        ("-i 0", "bad-fence-argument"),
        ("-h", "bad-fence-argument"),
    ),
    "auto_reset_crashkernel": (("1", "bad-choice"), ("Yes", "bad-choice")),
}
ONLY_WARNED_OF = {"sshkey"}
"""As the tools that users come from do: a key that is missing or named badly is replaced by the default."""
ANYWHERE = {
    "{name}": "missing-value",
    '{name} ""': "missing-value",
    "{name} = x": "stray-equals",
    "{name}=x": "unknown-directive",
    "{upper} x": "unknown-directive",
    "{name} a\x07b": "bad-character",
    "{name} a\udcffb": "not-utf-8",
}
"""What no directive may be, whatever it takes."""


def told(text: str) -> list[tuple[int, str, str, str]]:
    """Line, severity, code and key of each problem."""
    _status, output = check(text, file="/etc/kdump.conf", as_json=True)
    return [(each["line"], each["severity"], each["code"], each["key"]) for each in json.loads(output)]


def takes_a_value() -> list[str]:
    return [name for name, setting in SETTINGS.items() if setting.needs_value]


def test_every_directive_is_in_the_table() -> None:
    assert set(WRONG) == set(takes_a_value())


@pytest.mark.parametrize(
    ("name", "value", "code"), [(name, value, code) for name, wrong in WRONG.items() for value, code in wrong]
)
def test_a_wrong_value_is_named_with_its_line(name: str, value: str, code: str) -> None:
    severity = "warning" if name in ONLY_WARNED_OF else "error"
    problems = told(f"# one\n\n{name} {value}\n")
    assert (3, severity, code, name) in problems
    assert {line for line, *_ in problems} == {3}


@pytest.mark.parametrize("name", takes_a_value())
@pytest.mark.parametrize(("line", "code"), ANYWHERE.items())
def test_what_no_directive_may_be(name: str, line: str, code: str) -> None:
    text = "# one\n" + line.format(name=name, upper=name.upper()) + "\n"
    found = [(number, severity, each) for number, severity, each, _key in told(text)]
    assert (2, "error", code) in found


@pytest.mark.parametrize(
    "name", [name for name, setting in SETTINGS.items() if not setting.repeats and not setting.is_target]
)
def test_a_second_line_of_a_directive_is_refused_on_that_line(name: str) -> None:
    value = {"dracut_args": "-f", "fence_kdump_args": "-v", "core_collector": "cp", "path": "/a"}.get(
        name, "x"
    )
    problems = told(f"{name} {value}\n# between\n{name} {value}\n")
    assert (3, "error", "duplicate-directive", name) in problems


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        ("ext4 /dev/sda1\nxfs /dev/sda2\n", 2, "two-targets"),
        ("ext4 /dev/sda1\n\next4 /dev/sda1\n", 3, "two-targets"),
        ("ssh a@b\nnet a@b\n", 2, "two-targets"),
        ('raw /dev/sda1\ndracut_args --mount "/dev/a /m ext4 rw"\n', 2, "two-targets"),
        ("failure_action halt\ndefault halt\n", 2, "contradictory-failure-actions"),
        ("default halt\n\nfailure_action reboot\n", 3, "contradictory-failure-actions"),
        ("force_rebuild 1\nforce_no_rebuild 1\n", 2, "contradictory-rebuilds"),
        ("ssh a@b\ncore_collector cp\n", 2, "unfit-collector"),
        ("raw /dev/sda1\ncore_collector cp\n", 2, "unfit-collector"),
        ("core_collector scp\nnfs a:/b\n", 1, "unfit-collector"),
        ("raw /dev/sda1\npath crash\n", 2, "bad-path"),
        ("iso9660 /dev/sr0\n", 1, "unknown-directive"),
        ("disk_timeuot 5\n", 1, "unknown-directive"),
    ],
)
def test_what_does_not_go_together_is_told_on_the_line_that_is_too_much(
    text: str, line: int, code: str
) -> None:
    found = [(number, severity, each) for number, severity, each, _key in told(text)]
    assert (line, "error", code) in found


def test_all_of_them_in_one_file_are_told_at_once() -> None:
    lines = [f"{name} {wrong[0][0]}" for name, wrong in WRONG.items() if not SETTINGS[name].is_target]
    problems = told("\n".join(lines) + "\n")
    assert {line for line, *_ in problems} >= set(range(1, len(lines) + 1))
