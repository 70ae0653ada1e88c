"""Debian's /etc/default/kdump-tools: each variable of kdump-tools(5), and what it means in kdump.conf.

Its defaults are those of kdump-config 1.8 to 1.10: a core collector with `-c -d 31`, /var/crash, and all targets that
are set, one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType

from kdumpd.core.import_draft import (
    Draft,
    Given,
    Reader,
    appended,
    lacking,
    nothing,
    number,
    put,
    put_kernel,
    put_makedumpfile,
    sets_no_sysctl,
    to_variable,
    unknown_to,
    value,
)
from kdumpd.core.sysconfig import Assignment

DEFAULT_ARGUMENTS = "-c -d 31"
DEFAULT_FOLDER = "/var/crash"
DEFAULT_FOLDER_OF_IMAGES = "/var/lib/kdump"
OWN_WORDS = frozenset(
    {"reset_devices", "systemd.unit=kdump-tools-dump.service", "systemd.unit=kdump-tools.service"}
    | {"nr_cpus=1", "maxcpus=1", "irqpoll", "noirqdistrib", "nousb", "usbcore.nousb"}
    | {"ata_piix.prefer_ms_hyperv=0", "noefi", "acpi_rsdp"}
)
"""What kdump-tools itself adds to the capture kernel's command line, in one release or another. What of it a capture
needs, kdumpd adds by itself."""
_TARGETS = ("SSH", "NFS", "FTP")
_SHELLS = re.compile(r"(?:^|[\s/;])(?:ba|da|a)?sh(?:$|[\s;])|sulogin")


def read(given: Given, *, architecture: str, used: AbstractSet[str]) -> Draft:
    draft = Draft()
    _target(draft, given)
    _collector(draft, given)
    if not value(given, "KDUMP_SYSCTL"):
        sets_no_sysctl("kdump-tools", draft)
    for by in given.values():
        if by.name in READERS and by.value:
            READERS[by.name](draft, given, by)
        elif by.name == "KDUMP_CMDLINE_APPEND" and by.value:
            _append(draft, by, architecture=architecture)
        elif by.value:
            unknown_to("kdump-tools", draft, by, used=used)
    return draft


def _target(draft: Draft, given: Given) -> None:
    """One of those that are set, for kdumpd saves to exactly one; nothing is on the local disk then."""
    set_ones = [given[name] for name in _TARGETS if value(given, name)]
    folder = given.get("KDUMP_COREDIR")
    path = value(given, "KDUMP_COREDIR", DEFAULT_FOLDER)
    chosen = set_ones[0] if set_ones else None
    for other in set_ones[1:]:
        draft.lack(other, f"it is left out: kdumpd saves to one target, that of {set_ones[0].name}")
    match chosen.name if chosen is not None else "":
        case "SSH" if chosen is not None:
            has_user = "@" in chosen.value
            put(draft, "ssh", chosen.value if has_user else f"root@{chosen.value}", chosen)
            put(draft, "path", path, folder)
            key = given.get("SSH_KEY")
            if key is not None and key.value:
                put(draft, "sshkey", key.value, key)
        case "NFS" if chosen is not None:
            # kdump-tools mounts the export over KDUMP_COREDIR: the dumps lie at its top.
            put(draft, "nfs", chosen.value, chosen)
            put(draft, "path", "/", folder)
        case "FTP" if chosen is not None:
            draft.lack(chosen, "kdumpd sends nothing by FTP; use ssh, or nfs")
            draft.saves_there = False
        case _:
            put(draft, "path", path, folder)


def say_where(given: Given) -> frozenset[str]:
    """The variables on which it depends where dumps go; of other targets than the chosen one, nothing does."""
    match next((name for name in _TARGETS if value(given, name)), ""):
        case "":
            return frozenset({*_TARGETS, "KDUMP_COREDIR"})
        case "SSH":
            return frozenset({"SSH", "KDUMP_COREDIR"})
        case chosen:
            return frozenset({chosen})


def _collector(draft: Draft, given: Given) -> None:
    """The shell splits the words at blanks alone; the stream that kdump-tools writes to a disk as well is not needed."""
    words = value(given, "MAKEDUMP_ARGS", DEFAULT_ARGUMENTS).split()
    put_makedumpfile(draft, words, given.get("MAKEDUMP_ARGS"))


def _append(draft: Draft, by: Assignment, *, architecture: str) -> None:
    own = [word for word in by.value.split() if word not in OWN_WORDS]
    if own:
        draft.variables["KDUMP_COMMANDLINE_APPEND"] = appended(" ".join(own), architecture=architecture), by


def _use(draft: Draft, _given: Given, by: Assignment) -> None:
    if by.value == "0":
        draft.lack(
            by, "kdump.conf does not say whether to arm; `systemctl disable kdump.service` leaves kdump off"
        )


def _kernel(draft: Draft, _given: Given, by: Assignment) -> None:
    """Its own folder holds links to the running kernel, which is what kdumpd loads unless told otherwise."""
    if not by.value.startswith(f"{DEFAULT_FOLDER_OF_IMAGES}/"):
        put_kernel(draft, by)


def _sysctl(draft: Draft, _given: Given, by: Assignment) -> None:
    """A blank is how none is said."""
    if by.value.strip():
        draft.lack(by, "kdumpd sets no sysctl: put what it says into a file of /etc/sysctl.d")


def _initrd(draft: Draft, _given: Given, by: Assignment) -> None:
    if not by.value.startswith(f"{DEFAULT_FOLDER_OF_IMAGES}/"):
        draft.lack(by, "kdumpd builds the image of the capture kernel by itself, and takes no other")


def _fail(draft: Draft, _given: Given, by: Assignment) -> None:
    """The last thing that the command does is what becomes of the machine; a shell before it is what counts."""
    words = by.value.split()
    program = words[0].rpartition("/")[2] if words else ""
    if _SHELLS.search(by.value):
        put(draft, "failure_action", "shell", by)
    elif ";" in by.value or "&" in by.value or "|" in by.value:
        draft.lack(by, "failure_action takes no command; kdump_emergency names a program that runs before it")
    elif program in {"reboot", "poweroff", "halt"} or (program == "systemctl" and "reboot" in words):
        is_off = program == "poweroff" or (program == "halt" and {"-p", "--poweroff"} & set(words))
        put(draft, "failure_action", "poweroff" if is_off else "halt" if program == "halt" else "reboot", by)
    else:
        draft.lack(by, "failure_action takes no command; kdump_emergency names a program that runs before it")


def _kernel_log(draft: Draft, _given: Given, by: Assignment) -> None:
    if by.value == "0":
        draft.lack(by, "kdumpd saves the crashed kernel's log in every case: it is small, and tells the most")


def _count(draft: Draft, given: Given, by: Assignment) -> None:
    count = number(draft, by)
    if count is None or count <= 0:
        return
    if any(value(given, name) for name in _TARGETS):
        draft.lack(by, "neither kdump-tools nor kdumpd deletes anything on a server")
    else:
        draft.keys["keep_count"] = count


def _host_tag(draft: Draft, _given: Given, by: Assignment) -> None:
    if by.value != "ip":
        draft.lack(by, "the name of a dump's directory on a server always begins with this machine's address")


_RETRIES = lacking("disk_timeout says for how long a server is tried, not how often")
_FTP = lacking("kdumpd sends nothing by FTP")
_MOUNTED_SOFT = lacking("kdumpd mounts soft, with 60 seconds and two repetitions, and takes no others")

READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "USE_KDUMP": _use,
        "KDUMP_SYSCTL": _sysctl,
        "KDUMP_KERNEL": _kernel,
        "KDUMP_INITRD": _initrd,
        "KDUMP_COREDIR": nothing,
        "KDUMP_FAIL_CMD": _fail,
        "KDUMP_DUMP_DMESG": _kernel_log,
        "KDUMP_SAVE_KERNLOG": _kernel_log,
        "DEBUG_KERNEL": lacking(
            "it is not needed: makedumpfile filters by what the crashed kernel says of itself"
        ),
        "KDUMP_NUM_DUMPS": _count,
        "KDUMP_COMPRESSION": lacking(
            "a saved dump is not compressed again; makedumpfile compresses it with -z (zstd), -l (lzo) or -c (zlib)"
        ),
        "MAKEDUMP_ARGS": nothing,
        "KDUMP_KEXEC_ARGS": to_variable("KEXEC_ARGS"),
        "KDUMP_CMDLINE": to_variable("KDUMP_COMMANDLINE"),
        "SSH": nothing,
        "SSH_KEY": nothing,
        "SSH_KDUMP_RETRY": _RETRIES,
        "SSH_KDUMP_DELAY": _RETRIES,
        "NFS": nothing,
        "NFS_TIMEO": _MOUNTED_SOFT,
        "NFS_RETRANS": _MOUNTED_SOFT,
        "NFS_MOUNT_RETRY": _RETRIES,
        "FTP": nothing,
        "FTP_USER": _FTP,
        "FTP_PASSWORD": _FTP,
        "FTP_PORT": _FTP,
        "HOSTTAG": _host_tag,
    }
)
