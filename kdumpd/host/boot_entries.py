"""Reads the boot menus that are on the machine."""

from __future__ import annotations

from kdumpd.core.boot_entries import ENTRY_FOLDERS, GRUB_FOLDERS, KERNEL_CMDLINE, BootFiles
from kdumpd.host.doors import Files, text

EFI_VARIABLES = "/sys/firmware/efi/efivars"
LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
"""The vendor of the variables that boot loaders and systemd share (systemd.io/BOOT_LOADER_INTERFACE)."""
LOADER_INFO = f"{EFI_VARIABLES}/LoaderInfo-{LOADER}"
CHOSEN_ENTRY = tuple(
    f"{EFI_VARIABLES}/{name}-{LOADER}" for name in ("LoaderEntryOneShot", "LoaderEntryDefault")
)
EFI_ATTRIBUTES_BYTES = 4
ENTRIES_AT_MOST = 64
LARGEST_MENU_BYTES = 1 << 20


def boot_files(files: Files) -> BootFiles:
    """Never raises: what cannot be read is not there."""
    grub = next((folder for folder in GRUB_FOLDERS if "grub.cfg" in _names(files, folder)), "")
    # Where the menu lies on the EFI partition, the environment is a link beside the other files of GRUB all the same.
    env = next((folder for folder in GRUB_FOLDERS if "grubenv" in _names(files, folder)), "")
    loader = next((folder for folder in ENTRY_FOLDERS if _names(files, f"{folder}/entries")), "")
    names = [name for name in _names(files, f"{loader}/entries") if name.endswith(".conf")] if loader else []
    return BootFiles(
        grub_cfg=_menu(files, f"{grub}/grub.cfg") if grub else "",
        grub_cfg_path=f"{grub}/grub.cfg" if grub else "",
        grubenv=text(files, f"{env}/grubenv") if env else "",
        bls={
            f"{loader}/entries/{name}": text(files, f"{loader}/entries/{name}")
            for name in names[:ENTRIES_AT_MOST]
        },
        loader_conf=text(files, f"{loader}/loader.conf") if loader else "",
        loader=_variable(files, LOADER_INFO),
        chosen=next(filter(None, (_variable(files, path) for path in CHOSEN_ENTRY)), ""),
        kernel_cmdline=text(files, KERNEL_CMDLINE),
    )


def _names(files: Files, folder: str) -> tuple[str, ...]:
    try:
        return files.names(folder)
    except OSError:
        return ()


def _menu(files: Files, path: str) -> str:
    try:
        return files.read_bytes(path, limit=LARGEST_MENU_BYTES).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def _variable(files: Files, path: str) -> str:
    try:
        said = files.read_bytes(path)
    except OSError:
        return ""
    return said[EFI_ATTRIBUTES_BYTES:].decode("utf-16-le", "replace").rstrip("\0")
