"""openSUSE's /etc/sysconfig/kdump: each variable of its kdump(5), and what it means in kdump.conf.

Defaults are those of kdump 2: /var/crash, `compressed` at level 31, up to 32 processors, no dump deleted. Variables of
kdump 0.1 to 1 (SLE 11 to 15) are known as well.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType

from kdumpd.core import commandline
from kdumpd.core.bootloader import values_of
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
from kdumpd.core.import_url import place_of
from kdumpd.core.problems import Problem
from kdumpd.core.sysconfig import Assignment

FORMATS: Mapping[str, str] = MappingProxyType(
    {"ELF": "-E", "compressed": "-c", "lzo": "-l", "snappy": "-p", "zstd": "-z"}
)
DEFAULT_FOLDER = "/var/crash"
DEFAULT_PROCESSORS = 32
FIRST_KEY = "/root/.ssh/id_rsa"
"""The first of root's own keys that are tried where KDUMP_SSH_IDENTITY names none."""
_FENCE = "fence_kdump_send"
_FENCE_OPTIONS_WITH_VALUE = frozenset({"-p", "-f", "-c", "-i"})
_URL = re.compile(r"(?P<scheme>[a-z]+)://(?P<place>[^/]*)(?P<path>/.*)?", re.IGNORECASE)
_NEXT_TARGET = re.compile(r"\s+(?=/|[a-z]+://)", re.IGNORECASE)
"""Several targets were allowed up to kdump 1; since then a blank is a part of the one directory's name."""
_ESCAPED = re.compile(r"%[0-9a-f]{2}", re.IGNORECASE)
_SSH_PORT = "22"


def read(given: Given, *, architecture: str, used: AbstractSet[str]) -> Draft:
    draft = Draft()
    _target(draft, given)
    _collector(draft, given)
    _command_line(draft, given, architecture=architecture)
    sets_no_sysctl("openSUSE's kdump", draft)
    for by in given.values():
        if by.name in READERS and by.value:
            READERS[by.name](draft, given, by)
        elif by.value:
            unknown_to("openSUSE's kdump", draft, by, used=used)
    return draft


def _target(draft: Draft, given: Given) -> None:
    said = given.get("KDUMP_SAVEDIR")
    first, *others = _NEXT_TARGET.split(value(given, "KDUMP_SAVEDIR").strip() or DEFAULT_FOLDER)
    if others and said is not None:
        draft.lack(said, "kdumpd saves to one directory, the first; the others are left out")
    url = _URL.fullmatch(first)
    if said is not None and (why := _unclear(first, url)):
        draft.lack(said, why)
        draft.saves_there = draft.is_clear = False
    elif url is None or said is None:
        put(draft, "path", first, said)
    else:
        _of_url(draft, given, said, url)
    if (transfer := given.get("KDUMP_TRANSFER")) is not None and transfer.value:
        draft.saves_there = False  # the command alone knows where to


def _unclear(target: str, url: re.Match[str] | None) -> str:
    """Why nobody can tell where this is; "" where it is clear."""
    if _ESCAPED.search(target):
        return "kdump 1 takes %xx for a character and kdump 2 does not: write the character itself"
    if url is None:
        return ""
    if not url["path"]:
        return "it names no directory"
    if url["scheme"].lower() == "file" and url["place"] not in {"", "localhost"}:
        return "a directory of this machine has three slashes: file:///var/crash"
    return ""


def _of_url(draft: Draft, given: Given, said: Assignment, url: re.Match[str]) -> None:
    place, path = place_of(url["place"]), url["path"].rstrip("/") or "/"
    match url["scheme"].lower():
        case "file":
            put(draft, "path", path, said)
            return
        case "nfs":
            # What is named is mounted, whether it is what the server exports or a folder below it. kdump 0.1 had a
            # colon behind the export.
            export, _, below = url["path"].partition(":/")
            put(draft, "nfs", f"{place.host}:{export.rstrip('/') or '/'}", said)
            put(draft, "path", f"/{below.rstrip('/')}", said)
        case "ssh" | "sftp" | "scp":
            put(draft, "ssh", f"{place.user or 'root'}@{place.host}", said)
            put(draft, "path", path, said)
            _key(draft, given)
        case scheme:
            draft.lack(said, f"kdumpd knows no target {scheme}://; use ssh or nfs")
            draft.saves_there = False
            return
    if place.port not in {"", _SSH_PORT if "ssh" in draft.directives else ""}:
        draft.lack(said, "the port is left out: for ssh write Host and Port into /root/.ssh/config")
    if place.has_password:
        draft.lack(said, "the password is left out: `kdumpctl propagate` gives the server a key")


def say_where(_given: Given) -> frozenset[str]:
    """The variables on which it depends where dumps go."""
    return frozenset({"KDUMP_SAVEDIR", "KDUMP_TRANSFER"})


def _key(draft: Draft, given: Given) -> None:
    said = given.get("KDUMP_SSH_IDENTITY")
    keys = value(given, "KDUMP_SSH_IDENTITY").split() or [FIRST_KEY]
    put(draft, "sshkey", keys[0] if keys[0].startswith("/") else f"/root/.ssh/{keys[0]}", said)
    if said is not None and len(keys) > 1:
        draft.lack(said, "sshkey names one key, the first; the others are left out")


def _collector(draft: Draft, given: Given) -> None:
    named = given.get("KDUMP_DUMPFORMAT")
    format_ = value(given, "KDUMP_DUMPFORMAT", "compressed")
    level = value(given, "KDUMP_DUMPLEVEL", "31")
    extra = value(given, "MAKEDUMPFILE_OPTIONS").split()
    if format_ == "raw" or (format_ == "ELF" and level == "0" and not extra):
        # All of the memory as it is. Over ssh only scp copies so.
        put(draft, "core_collector", "scp" if "ssh" in draft.directives else "cp", named)
        return
    if format_ not in FORMATS and named is not None:
        why = "kdumpd always saves a dump" if format_ == "none" else "there is no such format"
        draft.lack(named, f"{why}: the core collector compresses with zlib")
    option = FORMATS.get(format_, "-c")
    put_makedumpfile(draft, [option, "-d", level, *extra], named or given.get("KDUMP_DUMPLEVEL"))


def _command_line(draft: Draft, given: Given, *, architecture: str) -> None:
    """Their words come on top of the tool's own, ours in the place of them; the number of processors is one of ours."""
    by = given.get("KDUMP_COMMANDLINE_APPEND")
    words = [*commandline.words(value(given, "KDUMP_COMMANDLINE_APPEND"))]
    for word in [word for word in words if word.startswith("net_delay=")]:
        put(draft, "link_delay", word.partition("=")[2], by)
        words.remove(word)
    cpus = given.get("KDUMP_CPUS")
    if cpus is not None and cpus.value and (count := number(draft, cpus)) is not None:
        _processors(draft, cpus, count, words)
    origin = by if by is not None and by.value else cpus
    if words and origin is not None:
        draft.variables["KDUMP_COMMANDLINE_APPEND"] = (
            appended(" ".join(words), architecture=architecture),
            origin,
        )


def _processors(draft: Draft, by: Assignment, count: int, words: list[str]) -> None:
    if count == DEFAULT_PROCESSORS:
        draft.lack(
            by,
            f"{count} is the default of openSUSE's kdump; with kdumpd the capture kernel has one processor "
            "unless nr_cpus= says how many, for each takes memory",
        )
    elif count > 1 and not any(word.startswith("nr_cpus=") for word in words):
        words.append(f"nr_cpus={count}")  # makedumpfile's threads follow by themselves
    elif count < 1:
        draft.lack(
            by, "the capture kernel has one processor unless nr_cpus= says how many: each takes memory"
        )


def _reboot(draft: Draft, _given: Given, by: Assignment) -> None:
    if not _is_yes(by):
        draft.lack(by, "no shell opens after a saved dump; final_action halt would keep the machine as it is")


def _on_error(draft: Draft, _given: Given, by: Assignment) -> None:
    if not _is_yes(by):
        put(draft, "failure_action", "shell", by)


def _before(draft: Draft, given: Given, by: Assignment) -> None:
    _hook(draft, by, "kdump_pre")
    on_error = given.get("KDUMP_CONTINUE_ON_ERROR")
    if "kdump_pre" in draft.directives and (on_error is None or _is_yes(on_error)):
        draft.lack(
            by,
            "kdump_pre runs it, and no dump is saved if it fails; openSUSE's kdump saves one all the same",
        )


def _after(draft: Draft, _given: Given, by: Assignment) -> None:
    if _FENCE in by.value:
        _fence(draft, by)
    else:
        _hook(draft, by, "kdump_post")


def _hook(draft: Draft, by: Assignment, directive: str) -> None:
    words = by.value.split()
    if len(words) == 1 and words[0].startswith("/"):
        put(draft, directive, words[0], by)
    else:
        draft.lack(by, f"{directive} names one program by its path; write the command into a script")


def _fence(draft: Draft, by: Assignment) -> None:
    """fence_kdump_send with its options, and then the nodes."""
    words = by.value.split()
    if not words[0].endswith(_FENCE):
        draft.lack(
            by, f"fence_kdump_nodes takes the place of {_FENCE}; write the rest into a script for kdump_post"
        )
        return
    options: list[str] = []
    at = 1
    while at < len(words) and words[at].startswith("-"):
        step = 2 if words[at] in _FENCE_OPTIONS_WITH_VALUE else 1
        options += words[at : at + step]
        at += step
    if not words[at:]:
        draft.lack(by, "it names no nodes")
        return
    put(draft, "fence_kdump_nodes", " ".join(words[at:]), by)
    if options:
        put(draft, "fence_kdump_args", " ".join(options), by)


def _programs(draft: Draft, given: Given, by: Assignment) -> None:
    """Hooks come along by themselves; a name without a path is looked for by nobody here."""
    hooks = {value(given, "KDUMP_PRESCRIPT"), value(given, "KDUMP_POSTSCRIPT")}
    words = [word for word in by.value.split() if word not in hooks and not word.endswith(_FENCE)]
    paths = [word for word in words if word.startswith("/")]
    if paths:
        put(draft, "extra_bins", " ".join(paths), by)
    if paths != words:
        draft.lack(by, "extra_bins names programs by their paths; those without a path are left out")


def _kept(draft: Draft, given: Given, by: Assignment) -> None:
    """The old ones are deleted before the new one is saved, so there is one more afterwards."""
    count = number(draft, by)
    if count is None or count == 0:
        return
    if "path" in draft.directives and not {"ssh", "nfs"} & draft.directives.keys():
        draft.keys["keep_count"] = 1 if count < 0 else count + 1
    elif value(given, "KDUMP_SAVEDIR"):
        draft.lack(by, "neither openSUSE's kdump nor kdumpd deletes anything on a server")


def _room(draft: Draft, _given: Given, by: Assignment) -> None:
    if by.value != "64":
        draft.lack(
            by,
            "a new dump is not deleted because little room is left; keep_free_bytes in kdumpd.toml deletes "
            "older ones",
        )


def _network(draft: Draft, _given: Given, by: Assignment) -> None:
    if by.value != "auto":
        draft.lack(by, "the capture kernel takes the way to the server that this machine uses now")


def _patience(draft: Draft, _given: Given, by: Assignment) -> None:
    """30 is the default. Who does not answer for so long is tried all the same there, and is a failure here."""
    if by.value.strip() == "30" or not {"ssh", "nfs"} & draft.directives.keys():
        return
    seconds = number(draft, by)
    if seconds == 0:
        draft.lack(by, "disk_timeout is how long a server is tried, and its default stands")
    elif seconds is not None:
        put(draft, "disk_timeout", by.value, by)


def _kernel(draft: Draft, _given: Given, by: Assignment) -> None:
    if by.value.startswith("/"):
        put_kernel(draft, by)
    elif re.match(r"[0-9]", by.value):
        draft.variables["KDUMP_KERNELVER"] = by.value, by
    else:
        draft.lack(
            by, "kdumpd needs the whole release, as `uname -r` prints it; the running kernel will capture"
        )


def _reservation(draft: Draft, _given: Given, by: Assignment) -> None:
    if by.value.strip().removeprefix("crashkernel=") in {"", "auto"}:
        return
    values = values_of(by.value)
    if isinstance(values, Problem):
        draft.lack(by, "it is no value of crashkernel=; `kdumpctl reserve set` writes the recommended one")
    else:
        draft.lack(by, f"`kdumpctl reserve set {shlex.join(values)}` writes it for the boot loader")


def _boot_loader(draft: Draft, _given: Given, by: Assignment) -> None:
    """The defaults of both leave it to the tool."""
    if not _is_yes(by):
        put(draft, "auto_reset_crashkernel", "no", by)


def _words_of_fadump(draft: Draft, given: Given, by: Assignment) -> None:
    fadump = given.get("KDUMP_FADUMP")
    if fadump is not None and _is_yes(fadump):
        draft.lack(by, _NO_FADUMP)


def _verbose(draft: Draft, _given: Given, by: Assignment) -> None:
    """0 and 3 are the defaults of one release and another."""
    if by.value not in {"0", "3"}:
        draft.lack(by, "kdumpd tells the journal, and debug_mem_level the capture kernel's console")


def _only_yes(why: str) -> Reader:
    return lambda draft, _given, by: draft.lack(by, why) if _is_yes(by) else None


def _is_yes(by: Assignment) -> bool:
    return by.value in {"yes", "1", "true"}


_NO_FADUMP = "kdumpd does not arm firmware-assisted dumps"
_MAIL = lacking("kdumpd sends no mail: journald and D-Bus tell of a dump after the reboot")
_HOST_KEY = lacking(
    "the server's key is looked up in known_hosts: `kdumpctl propagate` asks for it, and it is never passed over"
)

READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "KDUMP_SAVEDIR": nothing,
        "KDUMP_DUMPLEVEL": nothing,
        "KDUMP_DUMPFORMAT": nothing,
        "MAKEDUMPFILE_OPTIONS": nothing,
        "KDUMP_CPUS": nothing,
        "KDUMP_COMMANDLINE_APPEND": nothing,
        "KDUMP_COMMANDLINE": to_variable("KDUMP_COMMANDLINE"),
        "KEXEC_OPTIONS": to_variable("KEXEC_ARGS"),
        "KDUMP_KERNELVER": _kernel,
        "KDUMP_KEEP_OLD_DUMPS": _kept,
        "KDUMP_FREE_DISK_SIZE": _room,
        "KDUMP_IMMEDIATE_REBOOT": _reboot,
        "KDUMP_CONTINUE_ON_ERROR": _on_error,
        "KDUMP_TRANSFER": lacking(
            "only the command itself knows where it sends the dump; name that place in kdump.conf"
        ),
        "KDUMP_PRESCRIPT": _before,
        "KDUMP_POSTSCRIPT": _after,
        "KDUMP_REQUIRED_PROGRAMS": _programs,
        "KDUMP_NETCONFIG": _network,
        "KDUMP_NET_TIMEOUT": _patience,
        "KDUMP_SSH_IDENTITY": nothing,
        "KDUMP_HOST_KEY": _HOST_KEY,
        "KDUMP_SSH_HOST_KEY": _HOST_KEY,
        "KDUMP_SMTP_SERVER": _MAIL,
        "KDUMP_SMTP_USER": _MAIL,
        "KDUMP_SMTP_PASSWORD": _MAIL,
        "KDUMP_NOTIFICATION_TO": _MAIL,
        "KDUMP_NOTIFICATION_CC": _MAIL,
        "KDUMP_AUTO_RESIZE": _only_yes(
            "the reservation is left as it is; `kdumpctl estimate` says what it needs"
        ),
        "KDUMP_CRASHKERNEL": _reservation,
        "KDUMP_UPDATE_BOOTLOADER": _boot_loader,
        "KDUMP_FADUMP": _only_yes(_NO_FADUMP),
        "KDUMP_FADUMP_SHELL": _only_yes(_NO_FADUMP),
        "FADUMP_COMMANDLINE_APPEND": _words_of_fadump,
        "KDUMP_DUMPDEV": lacking(
            "kdumpd writes the dump straight to its target, which `raw` can make a device"
        ),
        "KDUMP_RUNLEVEL": lacking("no init runs in the capture kernel"),
        "KDUMP_VERBOSE": _verbose,
        "KDUMP_COPY_KERNEL": _only_yes("the kernel is not copied to the dump: its package has it"),
        "KDUMPTOOL_FLAGS": lacking("kdumpd does not use kdumptool, which these flags are for"),
    }
)
