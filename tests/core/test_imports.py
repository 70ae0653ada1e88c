"""Configurations of other tools as administrators have them: what each becomes, what is listed, where the dump goes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.cli import main
from kdumpd.cli_files import check
from kdumpd.core import document, import_debian, import_opensuse, tuning
from kdumpd.core.import_draft import Import, Lack, Tool, with_keys, with_variables
from kdumpd.core.imports import beside, changes, imported
from kdumpd.core.problems import Trouble
from kdumpd.core.sysconfig import read as read_sysconfig
from tests.core.test_ssh_plan import planned
from tests.machines.expect import look
from tests.machines.roots import unpack

EXAMPLES = Path(__file__).parent / "imports"
OURS = (
    "irqpoll reset_devices cgroup_disable=memory rootfstype=ramfs kfence.sample_interval=0 cryptomgr.notests "
    "novmcoredd mce=off numa=off udev.children-max=2 panic=10 acpi_no_memhotplug transparent_hugepage=never "
    "nokaslr hest_disable cma=0 hugetlb_cma=0 pcie_ports=compat"
)


@dataclass(frozen=True, kw_only=True)
class Meant:
    """What an example comes to; `machine` is a case of tests/machines on which its plan saves to `place`."""

    conf: str
    place: dict[str, str]
    machine: str = "virtio"
    lacks: dict[int, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    keys: dict[str, int | str] = field(default_factory=dict)


MEANT = {
    "kdump-tools-as-shipped": Meant(
        conf="path /var/crash\ncore_collector makedumpfile -c -d 31\n",
        place={"type": "filesystem", "directory": "/var/crash"},
    ),
    "kdump-tools-local": Meant(
        conf="path /srv/crash dumps\ncore_collector makedumpfile -d 17 --message-level 31\nfailure_action shell\n",
        place={"type": "filesystem", "directory": "/srv/crash dumps"},
        lacks={3: "KDUMP_SYSCTL", 10: "KDUMP_COMPRESSION"},
        variables={
            "KEXEC_ARGS": "--reset-vga",
            "KDUMP_COMMANDLINE_APPEND": f"{OURS.replace('irqpoll', 'irqpoll nr_cpus=1')} pci=nomsi",
        },
        keys={"keep_count": 3},
    ),
    "kdump-tools-nfs": Meant(
        conf="nfs dumps.example.com:/srv/dumps\npath /\ncore_collector makedumpfile -l -d 31\n",
        machine="net-card",
        place={"type": "nfs", "server": "dumps.example.com", "export": "/srv/dumps", "directory": "/"},
        lacks={4: "KDUMP_NUM_DUMPS", 5: "HOSTTAG", 7: "NFS_TIMEO", 8: "NFS_RETRANS", 9: "NFS_MOUNT_RETRY"},
    ),
    "kdump-tools-ssh": Meant(
        conf=(
            "ssh kdump@vault\npath /srv/dumps\nsshkey /root/.ssh/kdump_id_rsa\n"
            "core_collector makedumpfile -F -c -d 31\nfailure_action poweroff\n"
        ),
        machine="ssh",
        place={"type": "ssh", "user": "kdump", "server": "vault", "directory": "/srv/dumps"},
        lacks={2: "SERVER", 7: "SSH_KDUMP_RETRY", 8: "FTP"},
    ),
    "opensuse-as-shipped": Meant(
        conf="path /var/crash\ncore_collector makedumpfile -c -d 31\n",
        place={"type": "filesystem", "directory": "/var/crash"},
        lacks={5: "KDUMP_CPUS"},
    ),
    "opensuse-local": Meant(
        conf=(
            "path /var/log/dump\ncore_collector makedumpfile -l -d 17 --message-level 7\nlink_delay 20\n"
            "failure_action shell\nextra_bins /usr/bin/logger\nkdump_pre /usr/local/sbin/before\n"
            "fence_kdump_nodes node2.example.com node3.example.com\nfence_kdump_args -i 10 -c 5\n"
        ),
        place={},  # its hook and its cluster are on no machine that was captured
        machine="",
        lacks={
            2: "KDUMP_KERNELVER",
            7: "KDUMP_IMMEDIATE_REBOOT",
            8: "KDUMP_SAVEDIR",
            10: "KDUMP_FREE_DISK_SIZE",
            14: "KDUMP_REQUIRED_PROGRAMS",
            17: "KDUMP_COPY_KERNEL",
            18: "KDUMPTOOL_FLAGS",
        },
        variables={"KEXEC_ARGS": "--reset-vga", "KDUMP_COMMANDLINE_APPEND": f"{OURS} pci=nomsi nr_cpus=4"},
        keys={"keep_count": 6},
    ),
    "opensuse-nfs": Meant(
        conf="nfs dumps.example.com:/srv/dumps\npath /\ncore_collector cp\ndisk_timeout 90\n",
        machine="net-card",
        place={"type": "nfs", "server": "dumps.example.com", "export": "/srv/dumps", "directory": "/"},
        lacks={4: "KDUMP_KEEP_OLD_DUMPS", 5: "KDUMP_NETCONFIG", 7: "KDUMP_POSTSCRIPT"},
    ),
    "opensuse-ssh": Meant(
        conf=(
            "ssh kdump@vault\npath /srv/dumps\nsshkey /root/.ssh/kdump_id_rsa\n"
            "core_collector makedumpfile -F -z -d 31\n"
        ),
        machine="ssh",
        place={"type": "ssh", "user": "kdump", "server": "vault", "directory": "/srv/dumps"},
        lacks={
            1: "KDUMP_SAVEDIR",
            3: "KDUMP_SSH_IDENTITY",
            4: "KDUMP_HOST_KEY",
            5: "KDUMP_SMTP_SERVER",
            6: "KDUMP_SMTP_PASSWORD",
            7: "KDUMP_NOTIFICATION_TO",
        },
    ),
}
WITHOUT_TARGET = {
    "kdump-tools-ftp": {
        1: "USE_KDUMP",
        2: "FTP",
        3: "FTP_USER",
        4: "FTP_PASSWORD",
        5: "FTP_PORT",
        6: "KDUMP_NOSUCHTHING",
    },
    "opensuse-cifs": {1: "KDUMP_SAVEDIR"},
}


def read(name: str) -> Import:
    text = (EXAMPLES / f"{name}.conf").read_text()
    return imported(text, file=f"{name}.conf", architecture="x86_64")


def body(found: Import) -> str:
    return "".join(line.text for line in found.conf.lines if line.is_setting)


def of_its_lines(found: Import) -> tuple[Lack, ...]:
    """Without what a tool does unasked."""
    return tuple(lack for lack in found.lacks if lack.line)


def test_each_example_is_looked_at() -> None:
    assert {path.stem for path in EXAMPLES.iterdir()} == MEANT.keys() | WITHOUT_TARGET.keys()


@pytest.mark.parametrize("name", MEANT)
def test_an_example_becomes_what_means_the_same(name: str) -> None:
    found, meant = read(name), MEANT[name]
    assert found.tool is (Tool.OPENSUSE if name.startswith("opensuse") else Tool.KDUMP_TOOLS)
    assert body(found) == meant.conf
    assert {lack.line: lack.name for lack in of_its_lines(found)} == meant.lacks
    assert all(lack.why for lack in found.lacks)
    assert dict(found.variables) == meant.variables
    assert dict(found.keys) == meant.keys
    assert found.saves_there


@pytest.mark.parametrize("name", MEANT)
def test_check_accepts_it_without_a_word(name: str) -> None:
    assert check(read(name).conf.render(), file="k.conf") == (0, "k.conf: valid")


@pytest.mark.parametrize("name", [name for name, meant in MEANT.items() if meant.machine])
async def test_its_plan_saves_to_the_same_place(name: str, tmp_path: Path) -> None:
    meant, conf = MEANT[name], read(name).conf.render()
    if meant.machine == "ssh":
        plan = await planned(tmp_path, conf)
    else:
        unpack(meant.machine, tmp_path)
        resolution = (await look(tmp_path, conf=conf)).resolve()
        assert resolution.plan is not None, resolution.problems
        plan = resolution.plan
    assert meant.place.items() <= dict(plan.target).items()


@pytest.mark.parametrize("name", WITHOUT_TARGET)
def test_a_target_that_kdumpd_does_not_know_is_said(name: str) -> None:
    found = read(name)
    assert not found.saves_there
    assert {lack.line: lack.name for lack in of_its_lines(found)} == WITHOUT_TARGET[name]
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        'KDUMP_SAVEDIR="nfs://srv/$(hostname)"\nKDUMP_KEEP_OLD_DUMPS=5\n',
        "KDUMP_SAVEDIR=/srv\nKDUMP_SAVEDIR=`pwd`\nKDUMP_KEEP_OLD_DUMPS=5\n",
        "KDUMP_SAVEDIR=/srv/caf\udce9\nKDUMP_KEEP_OLD_DUMPS=5\n",
        'SSH="root@$SERVER"\nKDUMP_NUM_DUMPS=2\n',
        'SERVER=vault\nSERVER=$(hostname)\nSSH="root@$SERVER"\nKDUMP_NUM_DUMPS=2\n',
        'KDUMP_COREDIR="/var/crash/$(hostname)"\nKDUMP_NUM_DUMPS=2\n',
        'SSH=vault\nKDUMP_COREDIR="/var/crash/$(hostname)"\n',
        "KDUMP_COREDIR=/srv\nunset KDUMP_COREDIR\n",
        "KDUMP_COREDIR=/srv\n. /etc/default/crash.local\n",
        "KDUMP_COREDIR=/srv\n[ -r /etc/local ] && source /etc/local\n",
        "KDUMP_COREDIR=/srv\nif mountpoint -q /big; then KDUMP_COREDIR=/big; fi\n",
        "if mountpoint -q /big; then\n  KDUMP_COREDIR=/big\nfi\n",
        "where() {\n  if true; then\n    :\n  fi\n  KDUMP_COREDIR=/big\n}\n",
        "readonly KDUMP_COREDIR=/srv\nKDUMP_NUM_DUMPS=2\n",
        'KDUMP_COREDIR=/srv\nKDUMP_COREDIR+="/crash"\n',
        "KDUMP_COREDIR=/srv mkdir /srv\nKDUMP_NUM_DUMPS=2\n",
        "KDUMP_SAVEDIR=/srv\nKDUMP_TRANSFER=$(pick)\n",
        "KDUMP_SAVEDIR=/var/crash\nHOST=$(hostname); KDUMP_SAVEDIR=ssh://root@server/dumps\n",
        "KDUMP_COREDIR=/srv\nHOST=$(hostname) && . /etc/kdump.local\n",
        "KDUMP_COREDIR=/srv\nHOST='a\nb'$(hostname); KDUMP_COREDIR=/big\n",
        "KDUMP_COREDIR=/srv\nKDUMP_COREDIR=$(pick); export KDUMP_COREDIR\n",
        "KDUMP_COREDIR=/srv\n[ -e /x ] && KDUMP_COREDIR=/big; export KDUMP_COREDIR\n",
        'KDUMP_COREDIR=/srv\neval "$(pick)"\n',
        "[ -e /x ] &&\nKDUMP_COREDIR=/big\n",
        "[ -e /x ] && # mounted\n\nKDUMP_COREDIR=/big\n",
        "[ -e /x ] && \\\nNFS=vault:/srv\n",
        "[ -e /x ] ||\nKDUMP_COREDIR=/big\n",
        "echo /x |\nKDUMP_COREDIR=/big\n",
        "(\nKDUMP_COREDIR=/big\n)\n",
        "(\ncd /x\nKDUMP_COREDIR=/big\n)\n",
        "HOST=$(hostname); if mountpoint -q /big; then\n  KDUMP_COREDIR=/big\nfi\n",
        "if true; then echo; fi; if mountpoint -q /big; then\n  KDUMP_COREDIR=/big\nfi\n",
        "[ -e /x ] && { # mounted\n  KDUMP_COREDIR=/big\n}\n",
        "case $1 in\n  a)\n    KDUMP_COREDIR=/big\n    ;;\nesac\n",
        "where() { if true; then\n    :\n  fi\n  KDUMP_COREDIR=/big\n}\n",
        "if mountpoint -q /big; then\n  echo done\n  KDUMP_COREDIR=/big\nfi\n",
        "[ -e /big ] || return\nKDUMP_COREDIR=/big\n",
        "cat > /tmp/x <<END\nKDUMP_COREDIR=/big\nEND\n",
        "PLACE=/srv\n[ -e /x ] && PLACE=/big\nKDUMP_COREDIR=$PLACE/crash\n",
        "if mountpoint -q /big; then\n  PLACE=/big\nfi\nKDUMP_COREDIR=$PLACE/crash\n",
    ],
)
def test_a_target_that_only_a_shell_could_read_is_not_taken_for_the_local_disk(text: str) -> None:
    found = imported(text, file="f", architecture="x86_64")
    assert not found.saves_there
    assert found.keys == (), "nothing is to be deleted because of it"
    assert {lack.name for lack in found.lacks} & {
        "KDUMP_SAVEDIR",
        "SSH",
        "KDUMP_COREDIR",
        "KDUMP_TRANSFER",
        "HOST",
        "",
    }


@pytest.mark.parametrize(
    "text",
    [
        "KDUMP_COREDIR=/srv; export KDUMP_COREDIR\n",
        "if true; then echo; fi\nKDUMP_COREDIR=/srv\n",
        "if true; then\n  KDUMP_NUM_DUMPS=3\nfi\nKDUMP_COREDIR=/srv\n",
        "unset KDUMP_COREDIR\nKDUMP_COREDIR=/srv\n",
        "KDUMP_COREDIR=/srv\nulimit -c 0\n",
        "if true; then\n  :\nfi # of no use\nKDUMP_COREDIR=/srv\n",
        "if true\nthen # if it is\n  (echo)\nfi;\nKDUMP_COREDIR=/srv\n",
        "[ -e /x ] &&\nulimit -c 0\nKDUMP_COREDIR=/srv\n",
        "where() {\n  :\n}\nKDUMP_COREDIR=/srv\n",
        "PLACE=/srv\nexport PLACE\nKDUMP_COREDIR=$PLACE\n",
    ],
)
def test_what_a_shell_would_do_elsewhere_keeps_no_target_from_being_taken(text: str) -> None:
    found = imported(text, file="f", architecture="x86_64")
    assert found.saves_there
    assert body(found).startswith("path /srv\n")
    assert {lack.name for lack in of_its_lines(found)} - {"PLACE"} == {""}


@pytest.mark.parametrize("before", ["KDUMP_SAVEDIR=$(x)\n", "HOST=`hostname`; ", "HOST=$(hostname)\n"])
def test_what_is_set_again_in_a_way_that_can_be_read_is_what_counts(before: str) -> None:
    found = imported(f"{before}KDUMP_SAVEDIR=/srv\n", file="f", architecture="x86_64")
    assert found.saves_there
    assert body(found).startswith("path /srv\n")


@pytest.mark.parametrize("blank", [" ", "\t \n"])
@pytest.mark.parametrize(
    ("target", "name"),
    [
        *(("SSH=vault", name) for name in import_debian.READERS),
        *(("KDUMP_SAVEDIR=ssh://vault/srv", name) for name in import_opensuse.READERS),
    ],
)
def test_a_value_of_blanks_alone_is_borne(target: str, name: str, blank: str) -> None:
    tool = Tool.KDUMP_TOOLS if target.startswith("SSH") else Tool.OPENSUSE
    found = imported(f"{target}\n{name}='{blank}'\n", file="f", architecture="x86_64", tool=tool)
    assert check(found.conf.render(), file="k.conf").status == 0


@pytest.mark.parametrize(
    ("savedir", "target", "lacks"),
    [
        ("/srv/my crash", "path /srv/my crash", 0),
        ("file:///srv/my crash", "path /srv/my crash", 0),
        ("FILE://localhost/srv/", "path /srv", 0),
        ("/srv/a file:///srv/b", "path /srv/a", 1),
        ("nfs://[2001:db8::1]/srv", "nfs [2001:db8::1]:/srv\npath /", 0),
        ("nfs://vault:/srv", "nfs vault:/srv\npath /", 0),
        ("nfs://vault:/srv:/crash/here", "nfs vault:/srv\npath /crash/here", 0),
        ("nfs://vault/srv:/", "nfs vault:/srv\npath /", 0),
        ("nfs://vault/srv/:/crash/", "nfs vault:/srv\npath /crash", 0),
        ("nfs://vault/", "nfs vault:/\npath /", 0),
        ("sftp://dump@vault:22/srv", "ssh dump@vault\npath /srv\nsshkey /root/.ssh/id_rsa", 0),
        ("scp://vault:/srv", "ssh root@vault\npath /srv\nsshkey /root/.ssh/id_rsa", 0),
        ("ssh://vault:2222/srv", "ssh root@vault\npath /srv\nsshkey /root/.ssh/id_rsa", 1),
        ("ssh://a:b@[2001:db8::1]:22/srv", "ssh a@[2001:db8::1]\npath /srv\nsshkey /root/.ssh/id_rsa", 1),
    ],
)
def test_each_form_of_a_target_of_opensuse(savedir: str, target: str, lacks: int) -> None:
    found = imported(f'KDUMP_SAVEDIR="{savedir}"\n', file="f", architecture="x86_64")
    assert found.saves_there
    assert body(found).startswith(f"{target}\ncore_collector ")
    assert [lack.name for lack in of_its_lines(found)] == ["KDUMP_SAVEDIR"] * lacks


@pytest.mark.parametrize(
    "savedir",
    [
        *("file://srv/crash", "ssh://vault", "nfs://vault", "var/crash", "~/crash", "vault:/srv"),
        *(
            "file:///srv/my%20crash",
            "/srv/100%25",
            "ssh://a%40b@vault/srv",
            "ftp://vault:21/srv",
            "smb://vault:/srv",
        ),
    ],
)
def test_a_target_of_opensuse_that_is_none_or_not_clear_is_not_guessed(savedir: str) -> None:
    found = imported(f'KDUMP_SAVEDIR="{savedir}"\nKDUMP_KEEP_OLD_DUMPS=2\n', file="f", architecture="x86_64")
    assert not found.saves_there
    assert found.keys == ()
    assert "KDUMP_SAVEDIR" in {lack.name for lack in found.lacks}


def test_where_a_command_sends_the_dump_is_not_guessed() -> None:
    found = imported("KDUMP_SAVEDIR=/srv\nKDUMP_TRANSFER=/sbin/send\n", file="f", architecture="x86_64")
    assert not found.saves_there
    assert [lack.name for lack in of_its_lines(found)] == ["KDUMP_TRANSFER"]


@pytest.mark.parametrize(
    ("line", "directive"),
    [
        ("KDUMP_CRASHKERNEL=auto", ""),
        ("KDUMP_UPDATE_BOOTLOADER=true", ""),
        ("KDUMP_UPDATE_BOOTLOADER=false", "auto_reset_crashkernel no\n"),
        ("FADUMP_COMMANDLINE_APPEND='numa=off cma=0'", ""),
        ("KDUMP_CPUS=1", ""),
        ("KDUMP_NETCONFIG=auto", ""),
        ("KDUMP_NET_TIMEOUT=30", ""),
        ("KDUMP_COPY_KERNEL=no", ""),
    ],
)
def test_what_opensuse_sets_in_each_file_needs_no_word(line: str, directive: str) -> None:
    found = imported(f"KDUMP_SAVEDIR=nfs://vault/srv\n{line}\n", file="f", architecture="x86_64")
    expected = f"nfs vault:/srv\npath /\ncore_collector makedumpfile -c -d 31\n{directive}"
    assert (body(found), of_its_lines(found), found.variables, found.keys) == (expected, (), (), ())


@pytest.mark.parametrize(
    "line",
    [
        "KDUMP_CRASHKERNEL='crashkernel=72M,low crashkernel=300M,high'",
        "KDUMP_CPUS=32",
        "KDUMP_CPUS=0",
        "KDUMP_NET_TIMEOUT=0",
        "KDUMP_NET_TIMEOUT=abc",
        "KDUMP_POSTSCRIPT=fence_kdump_send",
        "KDUMP_POSTSCRIPT='/usr/lib/fence_kdump_send -i 10'",
        "KDUMP_DUMPDEV=/dev/sdb1",
        "KDUMP_RUNLEVEL=3",
        "KDUMP_DUMPFORMAT=none",
        "KDUMP_KERNELVER=kdump",
        "KDUMP_KERNELVER=/srv/bzImage",
        "KDUMP_COPY_KERNEL=yes",
    ],
)
def test_what_of_opensuse_has_no_place_is_told_with_its_reason(line: str) -> None:
    found = imported(f"KDUMP_SAVEDIR=nfs://vault/srv\n{line}\n", file="f", architecture="x86_64")
    assert body(found) == "nfs vault:/srv\npath /\ncore_collector makedumpfile -c -d 31\n"
    assert [(lack.line, lack.name) for lack in of_its_lines(found)] == [(2, line.partition("=")[0])]
    assert all("no such setting" not in lack.why for lack in found.lacks)
    assert found.variables == ()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("KDUMP_CRASHKERNEL=256M", "`kdumpctl reserve set 256M` "),
        (
            "KDUMP_CRASHKERNEL='crashkernel=72M,low crashkernel=300M,high'",
            "`kdumpctl reserve set 72M,low 300M,high` ",
        ),
        ("KDUMP_CRASHKERNEL='256M; reboot'", "it is no value of crashkernel="),
        ("KDUMP_CRASHKERNEL=256", "it is no value of crashkernel="),
        ("KDUMP_POSTSCRIPT=fence_kdump_send", "it names no nodes"),
    ],
)
def test_a_reason_says_what_is_to_be_done_or_what_is_wrong(said: str, why: str) -> None:
    found = imported(f"KDUMP_SAVEDIR=/srv\n{said}\n", file="f", architecture="x86_64")
    assert [lack.why.startswith(why) for lack in of_its_lines(found)] == [True]


def test_words_of_a_firmware_assisted_dump_are_told_where_there_is_to_be_one() -> None:
    text = "KDUMP_FADUMP=yes\nKDUMP_FADUMP_SHELL=yes\nFADUMP_COMMANDLINE_APPEND=cma=0\n"
    found = imported(text, file="f", architecture="x86_64")
    assert [lack.line for lack in of_its_lines(found)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("line", "variables"),
    [
        ("KDUMP_KERNELVER=6.3.1-2-default", {"KDUMP_KERNELVER": "6.3.1-2-default"}),
        ("KDUMP_KERNELVER=/boot/vmlinuz-6.3.1-2-default", {"KDUMP_KERNELVER": "6.3.1-2-default"}),
        (
            "KDUMP_KERNELVER=/srv/Image-6.3.1-2-default",
            {"KDUMP_KERNELVER": "6.3.1-2-default", "KDUMP_BOOTDIR": "/srv", "KDUMP_IMG": "Image"},
        ),
        ("KDUMP_KERNEL=/boot/vmlinuz-6.1.0-1-amd64", {"KDUMP_KERNELVER": "6.1.0-1-amd64"}),
    ],
)
def test_a_kernel_that_is_named_is_the_one_that_captures(line: str, variables: dict[str, str]) -> None:
    tool = Tool.OPENSUSE if line.startswith("KDUMP_KERNELVER") else Tool.KDUMP_TOOLS
    found = imported(f"{line}\n", file="f", architecture="x86_64", tool=tool)
    assert (dict(found.variables), of_its_lines(found)) == (variables, ())


@pytest.mark.parametrize(
    "words",
    [
        "irqpoll maxcpus=1 nousb",
        "irqpoll nr_cpus=1 nousb systemd.unit=kdump-tools.service ata_piix.prefer_ms_hyperv=0",
        "reset_devices systemd.unit=kdump-tools-dump.service maxcpus=1 irqpoll noirqdistrib usbcore.nousb",
    ],
)
def test_what_each_release_of_kdump_tools_adds_by_itself_is_not_taken_along(words: str) -> None:
    found = imported(f'USE_KDUMP=1\nKDUMP_CMDLINE_APPEND="{words}"\n', file="f", architecture="x86_64")
    assert (found.variables, of_its_lines(found)) == ((), ())


def test_settings_of_older_releases_of_kdump_tools_are_known() -> None:
    text = (
        'KDUMP_SYSCTL=" "\nKDUMP_SAVE_KERNLOG=1\nDEBUG_KERNEL=/usr/lib/debug/vmlinux\nKDUMP_SAVE_KERNLOG=0\n'
    )
    found = imported(text, file="f", architecture="x86_64", tool=Tool.KDUMP_TOOLS)
    assert [lack.line for lack in of_its_lines(found)] == [3, 4]
    assert all("no such setting" not in lack.why for lack in found.lacks)


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        ("KDUMP_COREDIR=/srv\n", True),
        ("KDUMP_SAVEDIR=/srv\n", True),
        ('KDUMP_COREDIR=/srv\nKDUMP_SYSCTL=""\n', True),
        ('KDUMP_COREDIR=/srv\nKDUMP_SYSCTL=" "\n', False),
        ("KDUMP_COREDIR=/srv\nKDUMP_SYSCTL=vm.panic_on_oom=1\n", False),
    ],
)
def test_what_a_tool_sets_unasked_is_told_as_its_default(text: str, *, is_told: bool) -> None:
    found = imported(text, file="f", architecture="x86_64")
    defaults = [lack.name for lack in found.lacks if not lack.line]
    assert defaults == (["kernel.panic_on_oops"] if is_told else [])


@pytest.mark.parametrize(
    "on_error", ["", "KDUMP_CONTINUE_ON_ERROR=true\n", "KDUMP_CONTINUE_ON_ERROR=false\n"]
)
def test_a_program_before_the_dump_that_may_keep_it_from_being_saved_is_told(on_error: str) -> None:
    text = f"KDUMP_SAVEDIR=/srv\nKDUMP_PRESCRIPT=/sbin/before\n{on_error}"
    found = imported(text, file="f", architecture="x86_64")
    assert found.conf.get("kdump_pre") == "/sbin/before"
    assert [lack.line for lack in of_its_lines(found)] == ([] if "false" in on_error else [2])


def test_what_is_the_default_is_written_all_the_same() -> None:
    """The tools differ in what they do unasked: kdump-tools compresses with zlib."""
    for tool in Tool:
        found = imported("", file="f", architecture="x86_64", tool=tool)
        assert body(found) == "path /var/crash\ncore_collector makedumpfile -c -d 31\n"
        assert of_its_lines(found) == ()


@pytest.mark.parametrize(
    ("text", "is_own"),
    [
        ('KDUMP_COREDIR="/srv/$PLACE"\n', True),
        ('KDUMP_COREDIR="/srv/${PLACE}"\n', True),
        ('OTHER=b\nKDUMP_COREDIR="/srv/$PLACE/$OTHER"\n', True),
        ('KDUMP_COREDIR=/srv\n# as "/srv/$PLACE"\n', False),
        ('KDUMP_COREDIR="/srv/$PLACES"\n', False),
    ],
)
def test_a_variable_of_the_files_own_is_called_so(text: str, *, is_own: bool) -> None:
    found = imported(f"PLACE=a\n{text}", file="f", architecture="x86_64")
    (lack,) = (each for each in found.lacks if each.name == "PLACE")
    assert ("of the file's own" in lack.why) is is_own
    assert ("no such setting" in lack.why) is not is_own


def test_a_file_that_tells_nothing_is_asked_about() -> None:
    with pytest.raises(Trouble, match="--from"):
        imported("KDUMP_COMMANDLINE=quiet\nSOMETHING=else\n", file="f", architecture="x86_64")


def test_nothing_in_it_is_executed_and_nothing_gets_out_of_its_line(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    found = imported(
        f"KDUMP_COREDIR=/var/crash\nMAKEDUMP_ARGS=`touch {witness}`\nKDUMP_FAIL_CMD=$(touch {witness})\n"
        "SSH='a@b\nkdump_post /bin/evil'\nSSH_KEY='/root/#key'\ntouch something\n",
        file="f",
        architecture="x86_64",
    )
    assert not witness.exists()
    assert "evil" not in body(found)
    assert {"MAKEDUMP_ARGS", "KDUMP_FAIL_CMD", "SSH", "SSH_KEY", ""} == {
        lack.name for lack in of_its_lines(found)
    }
    assert not found.saves_there


@given(st.sampled_from(sorted(EXAMPLES.iterdir())), st.data())
def test_what_check_would_refuse_is_never_written(path: Path, data: st.DataObject) -> None:
    lines = path.read_text().splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    name = lines[at].partition("=")[0]
    lines[at] = f"{name}={data.draw(st.text(max_size=40))}"
    tool = Tool.OPENSUSE if path.stem.startswith("opensuse") else Tool.KDUMP_TOOLS
    found = imported("\n".join(lines), file=path.name, architecture="x86_64", tool=tool)
    assert check(found.conf.render(), file="k.conf").status == 0
    written = read_sysconfig(with_variables("", found.variables), file="s")
    assert written.sysconfig is not None, written.problems


def test_the_other_files_keep_what_they_have() -> None:
    before = "# ours\nkeep_days = 30\nkeep_count=2 # few\n"
    after = with_keys(before, (("keep_count", 6), ("sysconfig_file", '/etc/a"b')))
    assert after == 'sysconfig_file = "/etc/a\\"b"\n# ours\nkeep_days = 30\nkeep_count = 6\n'
    assert tuning.read(after, file="t").problems == ()
    merged = with_variables("KEXEC_ARGS=-s", (("KEXEC_ARGS", "-c --reset-vga"),))
    told = read_sysconfig(merged, file="s").sysconfig
    assert told is not None
    assert told.kexec_args == "-c --reset-vga"


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example, out = str(EXAMPLES / "kdump-tools-nfs.conf"), tmp_path / "kdump.conf"
    assert main(["import", example]) == 0
    said = capsys.readouterr()
    assert "nfs dumps.example.com:/srv/dumps\n" in said.out
    assert f"{example}:5: HOSTTAG: the name of a dump's directory " in said.err
    assert main(["import", example, "--output", str(out)]) == 0
    assert document.parse(out.read_text()).get("nfs") == "dumps.example.com:/srv/dumps"
    assert main(["check", str(out)]) == 0
    capsys.readouterr()
    assert main(["import", "--json", "--from", "kdump-tools", example]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["from"], told["saves_there"]) == ("kdump-tools", True)
    assert [lack["line"] for lack in told["lacks"]] == [0, 4, 5, 7, 8, 9]

    out.unlink()
    theirs = tmp_path / "kdump-tools"
    for target, is_written in (("SSH=vault", True), ("FTP=vault:/srv", False)):
        theirs.write_text(f'{target}\nMAKEDUMP_ARGS="-c -l -d 31"\n')
        assert main(["import", str(theirs), "--output", str(out)]) == (0 if is_written else 2)
        assert out.exists() is is_written
        doubt = "kdump: WARNING: kdump.conf:4: -c and -l exclude each other"
        assert (doubt in capsys.readouterr().err) is is_written
        out.unlink(missing_ok=True)
        assert main(["import", "--json", str(theirs)]) == (0 if is_written else 2)
        told = json.loads(capsys.readouterr().out)
        assert [each["code"] for each in told["warnings"]] == ["doubtful-collector-option"] * is_written
    assert main(["import", str(tmp_path / "none"), "--output", str(out)]) == 1
    assert capsys.readouterr().err.endswith(f"kdump: {tmp_path}/none: the file does not exist\n")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("FTP=vault:/srv\n", "its target has no equivalent, and nothing is written"),
        ("[ -e /x ] &&\nSSH=vault\n", "it is not clear where its dumps go, and nothing is written"),
        ("KDUMP_SAVEDIR=/srv/100%25\n", "it is not clear where its dumps go, and nothing is written"),
    ],
)
def test_no_equivalent_is_told_apart_from_what_is_not_clear(
    text: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text(text)
    assert main(["import", str(theirs), "--output", str(tmp_path / "kdump.conf")]) == 2
    assert capsys.readouterr().err.endswith(f"kdump: {theirs}: {why}\n")
    assert [each.name for each in tmp_path.iterdir()] == ["theirs"]


def test_what_is_written_where() -> None:
    found = read("kdump-tools-local")
    ours = {"/etc/kdump.conf": "# nothing is set\n", "/etc/kdumpd.toml": "keep_days = 9\n"}
    written = dict(changes(found, ours))
    assert list(written)[-1] == "/etc/kdump.conf"
    assert written.pop("/etc/kdump.conf") == found.conf.render()
    assert written.pop("/etc/kdump.conf.before-import") == "# nothing is set\n"
    assert written.pop("/etc/kdumpd.toml") == "keep_count = 3\nkeep_days = 9\n"
    assert written.pop("/etc/default/kdump").startswith("KEXEC_ARGS=--reset-vga\n")
    assert written == {}
    again = {path: text for path, text in changes(found, ours) if "before" not in path}
    assert changes(found, again) == ()


def test_an_import_never_takes_the_place_of_what_an_earlier_one_kept() -> None:
    found, backups = read("kdump-tools-local"), set[str]()
    for number, ours in enumerate(
        ("# mine\n", "# of an import, and then edited\n", "# once more\n"), start=1
    ):
        kept = {
            path: text
            for path, text in changes(found, {"/etc/kdump.conf": ours}, backups=backups)
            if "before" in path
        }
        name = "/etc/kdump.conf.before-import" + (f"-{number}" if number > 1 else "")
        assert kept == {name: ours}
        backups.add(name)


FIRST, OTHER = "/etc/sysconfig/kdump", "/etc/default/kdump"


@pytest.mark.parametrize(
    ("present", "where"),
    [
        ({}, OTHER),
        ({FIRST: "KEXEC_ARGS=-s\n"}, FIRST),
        ({FIRST: "KEXEC_ARGS=-s\n", OTHER: ""}, FIRST),
        ({FIRST: "KDUMP_SAVEDIR=/srv\n"}, OTHER),
        ({FIRST: "", "/etc/kdumpd.toml": f'sysconfig_file = "{OTHER}"\n'}, OTHER),
        (
            {FIRST: "", "/etc/kdumpd.toml": 'sysconfig_file = "/etc/mine"\n', "/etc/mine": "# mine\n"},
            "/etc/mine",
        ),
    ],
)
@pytest.mark.parametrize("name", ["kdump-tools-local", "opensuse-local"])
def test_variables_are_written_where_kdumpd_looks_for_them(
    name: str, present: dict[str, str], where: str
) -> None:
    found = beside(read(name), file="/tmp/a-copy")
    after = {**present, **dict(changes(found, present))}
    told = tuning.read(after.get("/etc/kdumpd.toml", ""), file="t").tuning
    assert told is not None
    assert (told.sysconfig_file or next(path for path in (FIRST, OTHER) if path in after)) == where
    assert after[where].startswith(present.get(where, ""))
    assert "KEXEC_ARGS=--reset-vga\n" in after[where]


def test_the_file_of_opensuse_is_not_read_as_ours() -> None:
    """KDUMP_COMMANDLINE_APPEND adds there, and here takes the place of what kdumpd adds."""
    found = beside(read("opensuse-local"), file="/etc/sysconfig/kdump")
    written = dict(changes(found, {"/etc/sysconfig/kdump": "theirs"}))
    assert "/etc/sysconfig/kdump" not in written
    assert OURS in written["/etc/default/kdump"]
    told = tuning.read(written["/etc/kdumpd.toml"], file="t").tuning
    assert told is not None
    assert (told.sysconfig_file, told.keep_count) == ("/etc/default/kdump", 6)
