"""What must hold of a finished image before it may replace one that works; each check says what it found missing."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kdumpd.core.problems import Problem, Severity

PAGE_BYTES = 4096
ELF = b"\x7fELF"
SHELL_SCRIPT = re.compile(rb"#![ \t]*(?:/usr)?/bin/(?:busybox )?(?:sh|ash|dash)[ \t]*(?:\n|\Z)")
_PT_INTERP = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleWords:
    """What a module says of itself in its .modinfo: the kernel it was built for, and the modules it needs."""

    vermagic: str
    depends: tuple[str, ...]


_BRINGING_UP = frozenset(
    {
        "systemd-udevd",
        "udevadm",
        "modprobe",
        "kmod",
        "mount",
        "lvm",
        "dmsetup",
        "mdadm",
        "cryptsetup",
        "btrfs",
    }
    | {"multipath", "multipathd", "iscsid", "iscsiadm", "iscsistart", "thin_check"}
)


def module_words(data: bytes) -> ModuleWords | None:
    """None where `data` is no kernel module. Each field stands NUL-ended in the .modinfo section."""
    vermagic = _word(data, b"vermagic=")
    if not data.startswith(ELF) or not vermagic:
        return None
    return ModuleWords(
        vermagic=vermagic,
        depends=tuple(module_name(name) for name in _word(data, b"depends=").split(",") if name),
    )


def _word(data: bytes, key: bytes) -> str:
    """What stands between NUL key and NUL; "" where it is not there. A plain search: modules are megabytes long."""
    start = data.find(b"\0" + key)
    end = data.find(b"\0", start + 1) if start >= 0 else -1
    return data[start + 1 + len(key) : end].decode("ascii", "replace") if end >= 0 else ""


def module_name(name: str) -> str:
    """The name as the kernel spells it, whichever way a file or a list has it."""
    return name.replace("-", "_")


def module_problems(modules: Mapping[str, ModuleWords | None], *, kernel_release: str) -> tuple[Problem, ...]:
    """Modules by name with what they say (None: no module at all): each for this kernel, with all that it needs."""
    present = {module_name(name) for name in modules}
    problems: list[Problem] = []
    for name, words in sorted(modules.items()):
        if words is None:
            problems.append(
                Problem(code="module-damaged", message=f"{name} in the image is not a kernel module")
            )
            continue
        built_for, *magic = words.vermagic.split()
        if built_for != kernel_release:
            problems.append(
                Problem(
                    code="module-of-other-kernel",
                    message=f"module {name} was built for kernel {built_for}, not for {kernel_release}",
                    # With symbol versions the kernel looks at those and not at the release (same_magic()).
                    severity=Severity.WARNING if "modversions" in magic else Severity.ERROR,
                )
            )
        problems.extend(
            Problem(
                code="module-incomplete", message=f"module {name} needs {needed}, which is not in the image"
            )
            for needed in words.depends
            if needed not in present
        )
    return tuple(problems)


def interpreter(data: bytes) -> str:
    """The loader that an ELF program asks for; "" where it asks for none (static, a library, no ELF at all)."""
    if not data.startswith(ELF) or len(data) < 64:
        return ""
    wide, order = data[4] == 2, "<" if data[5] == 1 else ">"
    if wide:
        (table,) = struct.unpack_from(order + "Q", data, 32)
        size, count = struct.unpack_from(order + "HH", data, 54)
    else:
        (table,) = struct.unpack_from(order + "I", data, 28)
        size, count = struct.unpack_from(order + "HH", data, 42)
    for at in range(table, table + size * count, size or 1):
        header = data[at : at + (40 if wide else 20)]
        if len(header) < (40 if wide else 20):
            return ""
        if struct.unpack_from(order + "I", header)[0] != _PT_INTERP:
            continue
        if wide:
            start, length = (
                struct.unpack_from(order + "Q", header, 8)[0],
                struct.unpack_from(order + "Q", header, 32)[0],
            )
        else:
            start, length = (
                struct.unpack_from(order + "I", header, 4)[0],
                struct.unpack_from(order + "I", header, 16)[0],
            )
        return data[start : start + length].rstrip(b"\0").decode("utf-8", "replace")
    return ""


def missing_libraries(said: str) -> tuple[str, ...]:
    """The libraries that a loader's --list did not find, from its output."""
    return tuple(
        line.split("=>")[0].strip() for line in said.splitlines() if line.rstrip().endswith("not found")
    )


def unpacked_bytes(sizes: Iterable[int]) -> int:
    """What files of these sizes take of the capture kernel's memory, where each fills whole pages."""
    return sum(-(-size // PAGE_BYTES) * PAGE_BYTES for size in sizes)


def environment_problems(*, planned: Mapping[str, str], evaluated: Mapping[str, str]) -> tuple[Problem, ...]:
    """What the image's own shell makes of plan.env, against what was planned."""
    return tuple(
        Problem(
            code="plan-env-differs",
            message=f"the capture would read {name} as {evaluated.get(name)!r}, planned was {value!r}",
        )
        for name, value in planned.items()
        if evaluated.get(name) != value
    )


def dracut_problems(paths: frozenset[str], *, kernel_release: str) -> tuple[Problem, ...]:
    """What an image of dracut lacks that a capture by it cannot do without; `paths` have no leading slash."""
    hooks = [path for path in paths if "/dracut/hooks/" in path and "kdumpd-" in path]
    index = f"lib/modules/{kernel_release}/modules.dep"
    wanted = {
        "init": "init" in paths,
        "udevadm": any(path.endswith("/udevadm") for path in paths),
        f"modules.dep of {kernel_release}": any(path.endswith(index) for path in paths),
        **{
            f"kdumpd's hook {hook}": any(f"/{hook}/" in path for path in hooks)
            for hook in ("cmdline", "pre-mount", "emergency")
        },
    }
    return tuple(
        Problem(
            code="dracut-incomplete",
            message=f"the image that dracut made lacks {what}",
            hint="see whether files of the packages of kdumpd or dracut are missing",
        )
        for what, is_there in wanted.items()
        if not is_there
    )


def brings_devices_up(path: str) -> bool:
    """Of dracut's hundred programs those that a capture depends on: to start each of them would take a minute."""
    return path.rpartition("/")[2] in _BRINGING_UP
