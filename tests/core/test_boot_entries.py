"""Which command line the next boot has, on machines of each kind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kdumpd.core.boot_entries import (
    BootFiles,
    Entry,
    crashkernel_of,
    default_entry,
    grub_entries,
    is_reboot_due,
    next_command_line,
)

GIB = 1 << 30
DEBIAN = r"""
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="0"
fi

function gfxmode {
	set gfxpayload="${1}"
}
if [ x$feature_default_font_path = xy ] ; then
   font=unicode
fi
menuentry 'Debian GNU/Linux' --class debian --class os $menuentry_id_option 'gnulinux-simple-1c1e' {
	load_video
	if [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
	search --no-floppy --fs-uuid --set=root 1c1e
	echo	'Loading Linux 6.12.1-amd64 ...'
	linux	/boot/vmlinuz-6.12.1-amd64 root=UUID=1c1e ro  quiet crashkernel=512M
	initrd	/boot/initrd.img-6.12.1-amd64
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-1c1e' {
	menuentry 'Debian GNU/Linux, with Linux 6.12.1-amd64' --class debian $menuentry_id_option 'gnulinux-6.12.1-advanced-1c1e' {
		linux	/boot/vmlinuz-6.12.1-amd64 root=UUID=1c1e ro  quiet crashkernel=512M
	}
	menuentry 'Debian GNU/Linux, with Linux 6.12.1-amd64 (recovery mode)' --class debian $menuentry_id_option 'gnulinux-6.12.1-recovery-1c1e' {
		linux	/boot/vmlinuz-6.12.1-amd64 root=UUID=1c1e ro single
	}
	menuentry 'Debian'\''s own, with Linux 6.1.0-amd64' --class debian $menuentry_id_option 'gnulinux-6.1.0-advanced-1c1e' {
		linux	/boot/vmlinuz-6.1.0-amd64 root=UUID=1c1e ro  quiet crashkernel=192M
	}
}
menuentry 'UEFI Firmware Settings' $menuentry_id_option 'uefi-firmware' {
	fwsetup
}
"""
FEDORA = """
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="${saved_entry}"
fi
if [ -z "${kernelopts}" ]; then
  set kernelopts="root=/dev/mapper/root ro crashkernel=1G "
fi
insmod blscfg
blscfg
"""
ENV = "# GRUB Environment Block\nsaved_entry=m-6.12.10-200.fc41\n########"
BLS = {
    f"/boot/loader/entries/m-{release}.conf": (
        f"title Fedora Linux ({release})\nversion {release}\nlinux /vmlinuz-{release}\n"
        f"initrd /initramfs-{release}.img $tuned_initrd\noptions root=UUID=1 ro {more}\n"
    )
    for release, more in (
        ("6.12.9-200.fc41", "crashkernel=256M"),
        ("6.12.10-200.fc41", "$kernelopts $tuned_params"),
        ("0-rescue", ""),
    )
}


def grub(*, default: str = "0", env: str = "") -> BootFiles:
    return BootFiles(grub_cfg=DEBIAN.replace('default="0"', f'default="{default}"'), grubenv=env)


@pytest.mark.parametrize(
    ("boot", "crashkernel"),
    [
        (grub(), "512M"),
        (grub(default="1>2"), "192M"),
        (grub(default="gnulinux-advanced-1c1e>gnulinux-6.1.0-advanced-1c1e"), "192M"),
        (grub(default="Debian's own, with Linux 6.1.0-amd64"), "192M"),
        (grub(default="${saved_entry}", env="saved_entry=gnulinux-6.1.0-advanced-1c1e\n"), "192M"),
        (grub(default="${saved_entry}"), "512M"),
        (grub(env="next_entry=1>2\n"), "192M"),
        (grub(default="gone"), "512M"),
        (BootFiles(grub_cfg=FEDORA, grubenv=ENV, bls=BLS), "1G"),
        (BootFiles(grub_cfg=FEDORA, grubenv=f"kernelopts=ro crashkernel=2G\n{ENV}", bls=BLS), "2G"),
        (BootFiles(grub_cfg=FEDORA, grubenv="saved_entry=1\n", bls=BLS), "256M"),
        (BootFiles(grub_cfg=FEDORA, grubenv="saved_entry=m-6.12.9-200.fc41\n", bls=BLS), "256M"),
        (BootFiles(grub_cfg=FEDORA, grubenv="", bls=BLS), "1G"),
        (
            BootFiles(bls=BLS, loader="systemd-boot 257.9", loader_conf="timeout 3\ndefault m-6.12.9-*\n"),
            "256M",
        ),
        (BootFiles(loader="systemd-boot 257.9", kernel_cmdline="root=1\n  crashkernel=300M"), "300M"),
    ],
)
def test_the_next_boot_reserves_what_the_entry_says_that_is_booted_then(
    boot: BootFiles, crashkernel: str
) -> None:
    assert crashkernel_of(next_command_line(boot)) == (crashkernel,)


def test_a_menu_of_its_own_wins_over_entries_that_nobody_boots() -> None:
    assert crashkernel_of(next_command_line(replace(grub(), bls=BLS))) == ("512M",)
    of_systemd = replace(
        grub(), bls=BLS, loader="systemd-boot 257.9", loader_conf="default m-6.12.9-200.fc41.conf"
    )
    assert crashkernel_of(next_command_line(of_systemd)) == ("256M",)


@pytest.mark.parametrize(
    "boot",
    [
        BootFiles(),
        BootFiles(grub_cfg="menuentry 'x' {\n"),
        BootFiles(grub_cfg="}\n}\nmenuentry 'x' {\n}\n"),
        BootFiles(kernel_cmdline="crashkernel=1G"),
    ],
)
def test_what_nobody_knows_is_nothing(boot: BootFiles) -> None:
    assert next_command_line(boot) == ""
    assert default_entry(boot) is None


def test_a_menu_is_read_with_its_submenus() -> None:
    entries = grub_entries(DEBIAN)
    assert [each.path for each in entries] == [(0,), (1, 0), (1, 1), (1, 2)]
    assert entries[3] == Entry(
        id="gnulinux-6.1.0-advanced-1c1e",
        title="Debian's own, with Linux 6.1.0-amd64",
        options="root=UUID=1c1e ro  quiet crashkernel=192M",
        linux="/boot/vmlinuz-6.1.0-amd64",
        path=(1, 2),
    )


@pytest.mark.parametrize(
    ("running", "following", "is_due"),
    [
        ("ro crashkernel=256M", "quiet crashkernel=256M", False),
        ("ro crashkernel=256M", "", False),  # nobody knows
        ("ro crashkernel=256M", "ro", True),
        ("ro", "ro crashkernel=256M", True),
        ("ro crashkernel=256M", "ro crashkernel=512M", True),
        ("ro crashkernel=256M", "ro crashkernel=2G-64G:256M,64G-:512M", False),  # the same on this machine
        ("ro crashkernel=1G crashkernel=256M", "ro crashkernel=256M", False),  # the last counts
        ("ro crashkernel=256M", "ro crashkernel=256M,high", True),
        (
            "ro crashkernel=1G,high",
            "ro crashkernel=256M,low crashkernel=1G,high",
            False,
        ),  # that much is usual
        ("ro crashkernel=256M", "ro crashkernel=256M@64M", True),
        ("ro crashkernel=256M", "ro crashkernel=nonsense", True),
    ],
)
def test_a_reboot_is_due_where_the_next_one_reserves_otherwise(
    *, running: str, following: str, is_due: bool
) -> None:
    assert (
        is_reboot_due(running=running, following=following, memory_bytes=4 * GIB, architecture="x86_64")
        is is_due
    )
