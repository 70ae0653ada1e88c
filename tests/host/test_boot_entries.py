"""Boot menus as they lie on disks."""

from __future__ import annotations

from pathlib import Path

from kdumpd.core.boot_entries import next_command_line
from kdumpd.host import observe
from kdumpd.host.boot_entries import CHOSEN_ENTRY, LOADER_INFO, boot_files
from kdumpd.host.real import RealFiles


def lay(root: Path, files: dict[str, str | bytes]) -> RealFiles:
    for path, said in files.items():
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(said if isinstance(said, bytes) else said.encode())
    return RealFiles(str(root))


MENU = "menuentry 'Debian' {\n\tlinux /boot/vmlinuz root=1 crashkernel=192M\n}\n"
ENTRY = "title F\nlinux /vmlinuz\noptions root=1 $kernelopts\n"


def test_the_menu_of_debian(tmp_path: Path) -> None:
    files = lay(tmp_path, {"/boot/grub/grub.cfg": MENU, "/boot/grub/grubenv": "# GRUB\n####"})
    assert observe.look(files).next_command_line == "root=1 crashkernel=192M"


def test_the_entries_of_fedora(tmp_path: Path) -> None:
    files = lay(
        tmp_path,
        {
            "/boot/grub2/grub.cfg": "blscfg\n",
            "/boot/grub2/grubenv": "kernelopts=crashkernel=1G\n",
            "/boot/loader/entries/m-6.12.conf": ENTRY,
            "/boot/loader/entries/m-6.12.conf.rpmsave": ENTRY,
        },
    )
    assert list(boot_files(files).bls) == ["/boot/loader/entries/m-6.12.conf"]
    assert next_command_line(boot_files(files)) == "root=1 crashkernel=1G"


def test_the_environment_of_rhel_8_lies_on_the_efi_partition(tmp_path: Path) -> None:
    files = lay(
        tmp_path,
        {
            "/boot/efi/EFI/redhat/grubenv": "kernelopts=crashkernel=1G\n",
            "/boot/loader/entries/m-4.18.conf": ENTRY,
        },
    )
    (tmp_path / "boot/grub2").mkdir()
    (tmp_path / "boot/grub2/grubenv").symlink_to("../efi/EFI/redhat/grubenv")
    assert next_command_line(boot_files(files)) == "root=1 crashkernel=1G"


def test_systemd_boot_says_its_name(tmp_path: Path) -> None:
    said = b"\6\0\0\0" + "systemd-boot 257.9".encode("utf-16-le") + b"\0\0"
    files = lay(
        tmp_path,
        {
            LOADER_INFO: said,
            "/boot/grub/grub.cfg": MENU,
            "/boot/efi/loader/loader.conf": "default a*\n",
            "/boot/efi/loader/entries/a-1.conf": "options crashkernel=1M\n",
            "/boot/efi/loader/entries/b-2.conf": "options crashkernel=2M\n",
        },
    )
    assert boot_files(files).is_systemd_boot
    assert next_command_line(boot_files(files)) == "crashkernel=1M"
    once, always = CHOSEN_ENTRY
    lay(tmp_path, {always: b"\7\0\0\0" + "b-2.conf\0".encode("utf-16-le")})
    assert next_command_line(boot_files(files)) == "crashkernel=2M", "bootctl set-default"
    lay(tmp_path, {once: b"\7\0\0\0" + "a-1.conf\0".encode("utf-16-le")})
    assert next_command_line(boot_files(files)) == "crashkernel=1M", "bootctl set-oneshot"


def test_a_machine_without_any_of_it_is_no_fault(tmp_path: Path) -> None:
    files = lay(tmp_path, {"/boot/grub": ""})  # a file where a folder belongs
    assert next_command_line(boot_files(files)) == ""
