"""How the capture kernel is loaded: which kernel image, with which flags of kexec, and the cpus and memory it covers."""

from __future__ import annotations

from collections.abc import Iterator

from kdumpd.core import commandline, quoting
from kdumpd.core.inventory import Inventory, Kind
from kdumpd.core.machine import Lockdown, Machine
from kdumpd.core.plan import LoadPlan
from kdumpd.core.problems import Problem
from kdumpd.core.sysconfig import Sysconfig

_CALLS = {
    **dict.fromkeys(("-s", "--kexec-file-syscall"), "-s"),
    **dict.fromkeys(("-c", "--kexec-syscall"), "-c"),
    **dict.fromkeys(("-a", "--kexec-syscall-auto"), "-a"),
}
_OURS = frozenset({"-p", "--load-panic", "-l", "--load", "-u", "--unload"})


def release(sysconfig: Sysconfig, machine: Machine) -> str:
    """The release of the kernel that captures: KDUMP_KERNELVER, else the running one."""
    return sysconfig.kernel_version or machine.kernel_release


def is_another(sysconfig: Sysconfig, machine: Machine) -> bool:
    """Whether another kernel than the running one captures: its drivers are not those that can be seen at work."""
    return release(sysconfig, machine) != machine.kernel_release


def modules_directory(sysconfig: Sysconfig, machine: Machine) -> str:
    return f"/lib/modules/{release(sysconfig, machine)}"


def kernel_configs(sysconfig: Sysconfig, machine: Machine) -> tuple[str, ...]:
    """Where packages of kernels put the configuration that one was built with, the likeliest first."""
    of = release(sysconfig, machine)
    folder = (sysconfig.bootdir or "/boot").rstrip("/")
    return (f"{folder}/config-{of}", f"{modules_directory(sysconfig, machine)}/config")


def kernel_images(sysconfig: Sysconfig, machine: Machine) -> tuple[str, ...]:
    """Where the kernel image may be, the likeliest first; only one place where KDUMP_BOOTDIR and its like say so."""
    of = release(sysconfig, machine)
    folder, name, ending = (
        sysconfig.bootdir or "/boot",
        sysconfig.image or "vmlinuz",
        sysconfig.image_ext or "",
    )
    said = f"{folder.rstrip('/')}/{name}-{of}{ending}"
    usual = usual_images(of, machine_id=machine.machine_id)
    return usual if said == usual[0] else (said,)


def usual_images(release: str, *, machine_id: str) -> tuple[str, ...]:
    """Where the packages of kernels and systemd's kernel-install(8) put an image, the likeliest first."""
    places = [
        f"/boot/vmlinuz-{release}",
        f"/lib/modules/{release}/vmlinuz",
        f"/boot/vmlinux-{release}",
        f"/boot/Image-{release}",
    ]
    if machine_id:
        places += [f"/boot/{machine_id}/{release}/linux", f"/boot/efi/{machine_id}/{release}/linux"]
    return tuple(places)


def kernel_image(sysconfig: Sysconfig, machine: Machine, inventory: Inventory) -> str:
    """The first of them that is there, "" where none is."""
    places = kernel_images(sysconfig, machine)
    return next((path for path in places if inventory.facts(path).kind is Kind.FILE), "")


def problems(sysconfig: Sysconfig, machine: Machine, inventory: Inventory) -> Iterator[Problem]:
    image = kernel_image(sysconfig, machine, inventory)
    key = next(
        (name for name in ("KDUMP_KERNELVER", "KDUMP_BOOTDIR", "KDUMP_IMG") if name in sysconfig.lines), ""
    )
    if not image:
        places = kernel_images(sysconfig, machine)
        yield Problem(
            code="kernel-image-missing",
            message=f"there is no kernel image for {release(sysconfig, machine)}: looked at {', '.join(places)}",
            hint="install the kernel's package, or reboot into a kernel that is installed",
            key=key,
        )
    elif inventory.facts(image).unreadable:
        yield Problem(
            code="kernel-image-unreadable",
            message=f"{image} cannot be read: {inventory.facts(image).unreadable}",
        )
    length = len(command_line(sysconfig, machine, capture_id="0" * 32).encode("utf-8", "surrogateescape"))
    if length > commandline.LONGEST:
        yield Problem(
            code="command-line-too-long",
            message=f"the capture kernel's command line has {length} bytes; at most {commandline.LONGEST} are allowed",
            hint="remove words from it with KDUMP_COMMANDLINE_REMOVE",
        )


def command_line(sysconfig: Sysconfig, machine: Machine, *, capture_id: str) -> str:
    """What an administrator says stands: of a KDUMP_COMMANDLINE nothing is trimmed that nobody asked to remove."""
    remove, append = sysconfig.command_line_remove, sysconfig.command_line_append
    own = sysconfig.command_line or ""
    unsaid = () if own else None
    return commandline.capture(
        base=own or machine.command_line,
        architecture=machine.architecture,
        remove=unsaid if remove is None else commandline.words(remove),
        append=None if append is None else commandline.words(append),
        capture_id=capture_id,
    )


def kexec_flags(sysconfig: Sysconfig, machine: Machine) -> tuple[str, ...]:
    """KEXEC_ARGS with exactly one system call chosen: `-s` where the kernel would refuse the other, `-a` by default."""
    words = quoting.split(sysconfig.kexec_args or "")
    chosen = [_CALLS[word] for word in words if word in _CALLS]
    must_be_signed = machine.crash.secure_boot or machine.crash.lockdown is not Lockdown.NONE
    call = "-s" if must_be_signed else (chosen[-1] if chosen else "-a")
    return (call, *(word for word in words if word not in _CALLS and word not in _OURS))


def load_plan(sysconfig: Sysconfig, machine: Machine, inventory: Inventory, *, capture_id: str) -> LoadPlan:
    image = kernel_image(sysconfig, machine, inventory)
    return LoadPlan(
        kernel_image=image,
        kernel_digest=inventory.facts(image).digest,
        command_line=command_line(sysconfig, machine, capture_id=capture_id),
        kexec_flags=kexec_flags(sysconfig, machine),
        layout=machine.layout,
        kexec_digest=inventory.facts(inventory.programs.get("kexec", "")).digest,
    )
