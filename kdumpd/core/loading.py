"""The one call that arms the machine, and what its failures mean in words of the administrator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kdumpd.core.armed import Armed
from kdumpd.core.machine import CrashKernel, Lockdown
from kdumpd.core.problems import Problem

MIB = 1 << 20
CALLS = ("-a", "-s", "-c")  # which of the kernel's two calls kexec uses, or tries
SIGNATURE_FAULTS = (  # ENODATA, ENOKEY, EKEYREJECTED, EBADMSG, ELIBBAD, ENOPKG: kernel/kexec_file.c, certs/
    "No data available",
    "Required key not available",
    "Key was rejected by service",
    "Bad message",
    "Accessing a corrupted shared library",
    "Package not installed",
)
ROOM_FAULTS = (
    "Could not find a free area of memory",
    "Cannot allocate memory",
    "Cannot assign requested address",  # EADDRNOTAVAIL: a segment lies outside of the reservation
)
_NO_LOADS: Mapping[str, str] = {"--unload": "u", "--status": "S"}
RESERVATION_FAULTS = (  # kexec looks for the reservation in /proc/iomem, whatever sysfs says of it
    "Memory for crashkernel is not reserved",
    "No crash kernel segment found in /proc/iomem",
)
# kexec says this, and no error number, where the file call is not there (ENOSYS) or does not take the image (ENOEXEC,
# EINVAL, ENOTSUP) and the other call may not be tried (-s): do_kexec_file_load of kexec-tools.
NO_FILE_CALL = "syscall kexec_file_load not available"
IMAGE_FAULTS = (
    "Exec format error",
    "Cannot determine the file type",
    "Invalid argument",
    "Operation not supported",
)
REFUSALS = ("Operation not permitted", "Permission denied")  # EPERM, EACCES
BUSY = "Device or resource busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOrder:
    """What kexec is told, paths as inside the root."""

    kernel_image: str
    initramfs: str
    command_line: str
    flags: tuple[str, ...]

    @classmethod
    def of(cls, armed: Armed) -> LoadOrder:
        return cls(
            kernel_image=armed.kernel_image,
            initramfs=armed.initramfs,
            command_line=armed.command_line,
            flags=armed.kexec_flags,
        )

    def argv(self, outside: Mapping[str, str]) -> tuple[str, ...]:
        """`outside` says where the two files lie on the machine that runs kexec."""
        return (
            "kexec",
            "-p",
            *self.flags,
            f"--initrd={outside[self.initramfs]}",
            f"--command-line={self.command_line}",
            outside[self.kernel_image],
        )


def unload_argv(flags: tuple[str, ...]) -> tuple[str, ...]:
    """By the call that was used to load: under lockdown the other one is refused, for unloading as well."""
    call = next((flag for flag in flags if flag in CALLS), "-a")
    return ("kexec", "-p", "-u", call)


def loads_crash_kernel(argv: tuple[str, ...]) -> bool:
    """Whether an argv of kexec(8) asks for a crash kernel to be loaded, and not for one to be unloaded or told of."""
    letters: set[str] = set()
    for word in argv[1:]:
        name = word.partition("=")[0]
        if name.startswith("--load-p") and "--load-panic".startswith(name):  # getopt_long takes a beginning
            letters.add("p")
        elif name in _NO_LOADS:
            letters.add(_NO_LOADS[name])
        elif word.startswith("-") and not word.startswith("--"):
            letters |= set(word[1:].partition("t")[0])  # what follows -t is its argument
    return "p" in letters and letters.isdisjoint(_NO_LOADS.values())


def is_busy(said: str) -> bool:
    """Another load or unload is under way in the kernel; it ends by itself."""
    return BUSY in said


def load_fault(
    *, status: int, reason: str, said: str, crash: CrashKernel, order: LoadOrder | None
) -> Problem:
    """Why kexec failed: from its exit status, its last words, and what the kernel says of itself.

    `order` is None where something was to be unloaded. The facts come first: where they are an obstacle, the words
    of kexec are only its echo.
    """
    if status == 127:
        return Problem(
            code="kexec-missing",
            message="the program kexec is missing",
            hint="install the package kexec-tools",
        )
    if crash.load_disabled:
        return Problem(
            code="load-disabled",
            message="kernel.kexec_load_disabled is 1: nothing can be loaded or unloaded until a reboot",
            hint="see who sets it in /etc/sysctl.d",
        )
    if crash.loads_left == 0:
        return Problem(
            code="load-limit",
            message="kernel.kexec_load_limit_panic is used up: nothing can be loaded or unloaded until a reboot",
            hint="see who sets it in /etc/sysctl.d",
        )
    # Before the reservation: its size cannot be read either while another call is running.
    if is_busy(said):
        return Problem(
            code="kexec-busy",
            message="the kernel is busy with another kexec call",
            hint="kdumpd tries again by itself",
        )
    if order is not None and crash.reserved_bytes == 0:
        return Problem(
            code="no-reserved-memory",
            message="no memory is reserved for a crash kernel",
            hint="set crashkernel= with `kdumpctl reserve set` and reboot",
        )
    if any(words in said for words in SIGNATURE_FAULTS):
        image = order.kernel_image if order is not None else "the kernel"
        return Problem(
            code="kexec-signature",
            message=f"the signature of {image} is missing or not trusted by this kernel: {_tail(said)}",
            hint="use a kernel signed by a key that this machine trusts",
            file=order.kernel_image if order is not None else "",
        )
    is_refused = any(words in said for words in REFUSALS)
    if crash.lockdown is not Lockdown.NONE and is_refused:
        return Problem(
            code="lockdown",
            message=f"kernel lockdown ({crash.lockdown}) refuses the call: {_tail(said)}",
            hint="a signed kernel can be loaded with -s; see KEXEC_ARGS",
        )
    if is_refused:
        return Problem(
            code="not-permitted",
            message=f"the kernel does not permit the call: {_tail(said)}",
            hint="kdumpd needs CAP_SYS_BOOT, and no security module (SELinux, LoadPin, IMA) may forbid it",
        )
    if order is not None and any(words in said for words in RESERVATION_FAULTS):
        return Problem(
            code="reservation-hidden",
            message=f"kexec does not see the {crash.reserved_bytes // MIB} MiB that are reserved: {_tail(said)}",
            hint="/proc/iomem shows its addresses only to a process with CAP_SYS_ADMIN",
        )
    if order is not None and any(words in said for words in ROOM_FAULTS):
        return Problem(
            code="image-too-big",
            message=f"kernel and image do not fit the {crash.reserved_bytes // MIB} MiB that are reserved",
            hint="reserve more with crashkernel= and reboot",
        )
    if order is not None and NO_FILE_CALL in said:
        return Problem(
            code="kexec-image",
            message=(
                f"{order.kernel_image} is refused by kexec_file_load, or this kernel does not have that call: "
                f"{_tail(said)}"
            ),
            hint="-a in KEXEC_ARGS tries the other call as well, -s forbids it",
            file=order.kernel_image,
        )
    if order is not None and any(words in said for words in IMAGE_FAULTS):
        return Problem(
            code="kexec-image",
            message=f"{order.kernel_image} is not a kernel that can be loaded here: {_tail(said)}",
            hint="it may be damaged or for another architecture; KDUMP_IMG and KDUMP_KERNELVER say which is taken",
            file=order.kernel_image,
        )
    return Problem(code="kexec-failed", message=f"kexec {reason}", hint=_tail(said))


def _tail(said: str) -> str:
    """The last three lines of what a program said, as one."""
    return "; ".join(line.strip() for line in said.strip().splitlines()[-3:])
