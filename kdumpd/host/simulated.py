"""The doors of `--simulate`: programs run for real, but kexec flips a file under the root, nothing is mounted,
no server is connected to, nothing crashes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Unpack

from kdumpd.host.doors import GOOD, Output, ProgramFailed, Terms
from kdumpd.host.real import RealFiles, RealPrograms

NEW = "/sys/kernel/kexec/crash_"
OLD = "/sys/kernel/kexec_crash_"
BAD_ARGUMENTS = 1
FAILED = 255
NOT_PERMITTED = "kexec_file_load failed: Operation not permitted\n"
NOT_RESERVED = "Memory for crashkernel is not reserved\n"
NO_ROOM = "Could not find a free area of memory of 0x1000 bytes...\n"
CRASHED = "/run/kdumpd/simulated-crash"
"""A crash is written down here and nowhere else: no kernel is asked for one, whatever the root is."""


class SimulatedPrograms(RealPrograms):
    """As RealPrograms; `kexec -p` and `kexec -p -u` act on the crash kernel that the files under `root` describe."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._simulated = RealFiles(root)

    def find(self, name: str) -> str:
        return "/usr/sbin/kexec" if name == "kexec" else super().find(name)

    async def run(self, argv: Sequence[str], *, timeout: float, **terms: Unpack[Terms]) -> Output:
        asked = tuple(argv)
        match os.path.basename(asked[0]):
            case "kexec":
                status, said = self._kexec(asked[1:])
            case "mount" | "umount":
                status, said = FAILED, "nothing is mounted in a simulation\n"
            case "ssh" if "-G" not in asked:  # which only asks what it would do
                status, said = FAILED, "nobody is connected to in a simulation\n"
            case _:
                return await super().run(asked, timeout=timeout, **terms)
        output = Output(argv=asked, status=status, stdout=b"", stderr=said.encode())
        on_line = terms.get("on_line")
        if on_line is not None and said:
            on_line(said.rstrip())
        if status not in terms.get("good", GOOD):
            raise ProgramFailed(output, f"exit status {status}: {said.strip()}")
        return output

    def _kexec(self, arguments: tuple[str, ...]) -> tuple[int, str]:
        """The same arguments, the same checks and the same words as the program and the kernel together."""
        if "-p" not in arguments:
            return BAD_ARGUMENTS, "only a crash kernel is simulated\n"
        if self._word("/proc/sys/kernel/kexec_load_disabled") == "1":
            return FAILED, NOT_PERMITTED
        if self._word("/proc/sys/kernel/kexec_load_limit_panic") == "0":
            return FAILED, NOT_PERMITTED
        where = NEW if self._simulated.exists(f"{NEW}loaded") else OLD
        if "-u" in arguments:
            self._flip(where, "0")
            return 0, ""
        kernels = [each for each in arguments if not each.startswith("-")]
        images = [each.partition("=")[2] for each in arguments if each.startswith("--initrd=")]
        command_lines = [each for each in arguments if each.startswith("--command-line=")]
        if len(kernels) != 1 or len(images) != 1 or len(command_lines) != 1:
            return BAD_ARGUMENTS, "one kernel, one --initrd= and one --command-line= are expected\n"
        reserved = self._word(f"{where}size")
        if reserved in {"", "0"}:
            return FAILED, NOT_RESERVED
        size = 0
        for path in (*kernels, *images):
            if not self._is_inside(path) or not os.path.isfile(path):
                return FAILED, f"Cannot open `{path}': No such file or directory\n"
            size += os.path.getsize(path)
        if size > int(reserved):
            self._flip(where, "0")  # the kernel has let go of the old image by then
            return FAILED, NO_ROOM
        self._flip(where, "1")
        return 0, ""

    def _flip(self, where: str, value: str) -> None:
        self._simulated.poke(f"{where}loaded", f"{value}\n")

    def _is_inside(self, path: str) -> bool:
        root = self._simulated.root
        return root == "/" or os.path.realpath(path).startswith(f"{root}/")

    def _word(self, path: str) -> str:
        try:
            return self._simulated.read_text(path).strip()
        except OSError:
            return ""


class SimulatedCrash:
    """As host.crash.Crash. After the crash nothing happens until the daemon is ended, as it would be by a real one."""

    def __init__(self, files: RealFiles) -> None:
        self._files = files

    async def sync(self) -> None:
        """There is nothing that could be lost."""

    async def happen(self, identity: str) -> None:
        self._files.make_folder(CRASHED.rpartition("/")[0], mode=0o755)
        self._files.write(CRASHED, f"{identity}\n".encode())
        await asyncio.get_running_loop().create_future()
