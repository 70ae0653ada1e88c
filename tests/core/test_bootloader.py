"""How crashkernel= is set on machines of each kind: decided, and told before it is done."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kdumpd.core.boot_entries import BootFiles
from kdumpd.core.bootloader import (
    DROP_IN,
    PROGRAMS,
    Change,
    Tools,
    Way,
    outcome,
    planned,
    told,
    unmet,
    values_of,
    warnings_of,
    way_of,
)
from kdumpd.core.problems import Problem

EVERYTHING = {name: f"/usr/sbin/{name}" for name in PROGRAMS}


def tools(*names: str, **more: bool) -> Tools:
    return Tools(programs={name: EVERYTHING[name] for name in names}, **more)  # type: ignore[arg-type]


def menu(*options: str) -> str:
    return "".join(
        f"menuentry 'Linux {at}' $menuentry_id_option 'id-{at}' {{\n\tlinux /boot/vmlinuz-{at} {each}\n}}\n"
        for at, each in enumerate(options)
    )


def bls(*options: str) -> BootFiles:
    texts = {
        f"/boot/loader/entries/m-{9 - at}.conf": f"title Linux {9 - at}\nlinux /vmlinuz-{9 - at}\noptions ro {each}\n"
        for at, each in enumerate(options)
    }
    texts["/boot/loader/entries/m-0-rescue.conf"] = "title Rescue\nlinux /vmlinuz-0-rescue\noptions ro\n"
    return BootFiles(grub_cfg="blscfg\n", grub_cfg_path="/boot/grub2/grub.cfg", bls=texts)


DEBIAN = BootFiles(grub_cfg=menu("ro crashkernel=192M", "ro single"), grub_cfg_path="/boot/grub/grub.cfg")
DEBIAN_TOOLS = tools("update-grub", has_default_grub=True)
FEDORA = bls("crashkernel=256M", "crashkernel=192M")
SYSTEMD_BOOT = BootFiles(loader="systemd-boot 257.9", kernel_cmdline="ro")


@pytest.mark.parametrize(
    ("boot", "has", "way"),
    [
        (DEBIAN, DEBIAN_TOOLS, Way.DROP_IN),
        (FEDORA, tools("grubby"), Way.GRUBBY),
        (FEDORA, tools("grubby", "update-grub", has_default_grub=True), Way.GRUBBY),
        (replace(DEBIAN, grub_cfg_path="/boot/grub2/grub.cfg"), tools("grubby"), Way.GRUBBY),  # RHEL 7
        (FEDORA, tools("grubby", "rpm-ostree", is_ostree=True), Way.RPM_OSTREE),
        (replace(FEDORA, grub_cfg=""), tools("grubby", "zipl", has_zipl_conf=True), Way.GRUBBY),  # s390x
    ],
)
def test_the_way_is_the_one_whose_result_is_booted(boot: BootFiles, has: Tools, way: Way) -> None:
    assert way_of(boot, has) is way


@pytest.mark.parametrize(
    ("boot", "has"),
    [
        (BootFiles(), tools(*PROGRAMS, has_default_grub=True)),
        (DEBIAN, tools()),
        (DEBIAN, tools("update-grub")),  # without /etc/default/grub
        (FEDORA, tools("update-grub", has_default_grub=True)),  # update-grub would write what is not booted
        (FEDORA, tools("grubby", is_ostree=True)),
        (SYSTEMD_BOOT, tools("grubby", "update-grub", has_default_grub=True)),
    ],
)
def test_where_the_way_is_not_known_nothing_is_guessed(boot: BootFiles, has: Tools) -> None:
    answer = planned(boot, has, values=("1M",))
    assert isinstance(answer, Problem)
    assert answer.code == "not-supported"
    assert answer.hint


def test_systemd_boot_has_a_hint_of_its_own() -> None:
    answer = way_of(SYSTEMD_BOOT, tools("grubby"))
    assert isinstance(answer, Problem)
    assert "/etc/kernel/cmdline" in answer.hint


def change_of(boot: BootFiles, has: Tools, *values: str, kernel: str = "ALL") -> Change:
    change = planned(boot, has, values=values, kernel=kernel)
    assert isinstance(change, Change)
    return change


def test_debian_gets_a_file_of_its_own() -> None:
    change = change_of(DEBIAN, DEBIAN_TOOLS, "1G,high", "128M,low")
    (write,) = change.writes
    assert write.path == DROP_IN
    assert 'crashkernel=1G,high crashkernel=128M,low"\n' in write.text
    assert [each.argv for each in change.commands] == [("/usr/sbin/update-grub",)]
    assert change.may_change == (DROP_IN, "/boot/grub/grub.cfg")
    said = told(change, is_done=False)
    assert said[0] == f"would write {DROP_IN}:"
    assert said[-1] == "would run /usr/sbin/update-grub"
    assert write.text.splitlines() == [line[4:] for line in said[1:-1]], "all of it is shown"
    assert told(change, is_done=True)[-1] == "runs /usr/sbin/update-grub"


def test_debian_has_nothing_to_do_where_file_and_menu_say_so_already() -> None:
    change = change_of(DEBIAN, DEBIAN_TOOLS, "192M")
    assert change.is_needed, "the menu says so by somebody else's file, which may change"
    with_ours = replace(DEBIAN_TOOLS, drop_in=change.writes[0].text.rstrip("\n"))
    assert not change_of(DEBIAN, with_ours, "192M").is_needed
    assert change_of(replace(DEBIAN, grub_cfg=menu("ro")), with_ours, "192M").is_needed, "the menu is older"


@pytest.mark.parametrize(
    ("kernel", "values", "is_needed"),
    [
        ("ALL", ("256M",), True),  # the older kernel has another
        ("DEFAULT", ("256M",), False),
        ("DEFAULT", ("192M",), True),
        ("/boot/vmlinuz-8", ("192M",), False),
        ("/boot/vmlinuz-8", ("256M",), True),
        ("/boot/vmlinuz-7", ("256M",), True),  # grubby is to say that it does not know it
    ],
)
def test_grubby_is_run_where_an_entry_that_is_meant_says_otherwise(
    *, kernel: str, values: tuple[str, ...], is_needed: bool
) -> None:
    change = change_of(FEDORA, tools("grubby"), *values, kernel=kernel)
    assert change.is_needed is is_needed
    if is_needed:
        (command,) = change.commands
        assert command.argv == (
            "/usr/sbin/grubby",
            f"--update-kernel={kernel}",
            "--remove-args=crashkernel",
            f"--args=crashkernel={values[0]}",
        )
        assert {*FEDORA.bls, "/boot/grub2/grubenv", "/etc/kernel/cmdline", "/etc/default/grub"} <= {
            *change.may_change
        }


def test_zipl_is_run_after_grubby_and_once_more_where_all_is_put_back() -> None:
    change = change_of(FEDORA, tools("grubby", "zipl", has_zipl_conf=True), "1G")
    assert [each.argv[0] for each in change.commands] == ["/usr/sbin/grubby", "/usr/sbin/zipl"]
    assert [each.argv for each in change.undo] == [("/usr/sbin/zipl",)]


def test_rpm_ostree_makes_one_deployment_and_knows_the_way_back() -> None:
    change = change_of(FEDORA, tools("rpm-ostree", is_ostree=True), "1G")
    kargs = ("/usr/sbin/rpm-ostree", "kargs")
    assert [each.argv for each in change.commands] == [
        (*kargs, "--delete-if-present=crashkernel=256M", "--append=crashkernel=1G")
    ]
    assert [each.argv for each in change.undo] == [
        (*kargs, "--delete-if-present=crashkernel=1G", "--append=crashkernel=256M")
    ]
    assert not change_of(FEDORA, tools("rpm-ostree", is_ostree=True), "256M").is_needed


def test_what_has_no_effect_is_named() -> None:
    change = change_of(DEBIAN, DEBIAN_TOOLS, "1G")
    problem = unmet(change, DEBIAN)
    assert problem is not None
    assert "Linux 0 still has crashkernel=192M" in problem.message
    assert DROP_IN in problem.hint
    assert unmet(change, replace(DEBIAN, grub_cfg=menu("ro crashkernel=1G", "ro single"))) is None
    two = replace(DEBIAN, grub_cfg=menu("ro crashkernel=1G crashkernel=192M"))
    assert unmet(change, two) is not None, "the last one would count"


def test_of_several_values_grubby_may_keep_one() -> None:
    change = change_of(FEDORA, tools("grubby"), "1G,high", "128M,low")
    problem = unmet(change, bls("crashkernel=128M,low", "crashkernel=128M,low"))
    assert problem is not None
    assert "one value" in problem.hint


def test_the_outcome_of_each_entry_is_told_in_the_old_words() -> None:
    change = change_of(FEDORA, tools("grubby"), "256M")
    after = bls("crashkernel=256M", "crashkernel=256M")
    assert outcome(change, before=FEDORA, after=after) == (
        "No need to update crashkernel value for kernel=/boot/vmlinuz-9, grub entry index=0",
        "Updated crashkernel=256M for kernel=/boot/vmlinuz-8, grub entry index=1.",
    )


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("256M", ("256M",)),
        ("crashkernel=1024M,high  128M,low", ("1G,high", "128M,low")),
        ("2G-64G:256M,64G-:512M", ("2G-64G:256M,64G-:512M",)),
        ("", ()),
    ],
)
def test_values_are_read_as_the_kernel_reads_them(text: str, values: tuple[str, ...]) -> None:
    assert values_of(text) == values


@pytest.mark.parametrize("text", ["auto", "256M;reboot", '256M"', "$(id)", "256M 12Q", "-1"])
def test_what_the_kernel_cannot_read_is_refused(text: str) -> None:
    problem = values_of(text)
    assert isinstance(problem, Problem)
    assert problem.code == "bad-crashkernel"


@pytest.mark.parametrize("text", ["256", "1G,high 128,low", "2G-64G:256M,64G-:512", "crashkernel=512K"])
def test_a_number_without_its_unit_is_refused(text: str) -> None:
    problem = values_of(text)
    assert isinstance(problem, Problem)
    assert "such as 256M" in problem.hint


def test_no_memory_at_all_may_be_wished() -> None:
    assert values_of("0") == ("0",)
    assert values_of("1G,high 0,low") == ("1G,high", "0,low")


def test_what_would_surprise_is_said() -> None:
    change = change_of(DEBIAN, DEBIAN_TOOLS, "2G-64G:256M")
    assert warnings_of(change, memory_bytes=4 << 30, architecture="x86_64") == ()
    assert warnings_of(change, memory_bytes=1 << 30, architecture="x86_64") == (
        "on this machine, with 1024 MiB, it reserves no memory",
    )
    high = change_of(DEBIAN, DEBIAN_TOOLS, "512M,high")
    assert warnings_of(high, memory_bytes=4 << 30, architecture="x86_64") == ()
    assert warnings_of(high, memory_bytes=4 << 30, architecture="ppc64le") == (
        "on this machine, with 4096 MiB, it reserves no memory",
    )
