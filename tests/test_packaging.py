"""What is installed agrees with what the code says: ids, versions, names, and the tree of `make install`."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from configparser import RawConfigParser
from pathlib import Path

import pytest

import kdumpd
from kdumpd.core import config, document, tuning
from kdumpd.host.image import LAST_GOOD
from kdumpd.service import messages
from kdumpd.service.messages import Message

ROOT = Path(__file__).parent.parent
CATALOG = (ROOT / "units/kdumpd.catalog").read_text()


OUR_UNITS = ("kdumpd.service", "kdump.service", "kdumpd-early.service")


def unit(name: str) -> RawConfigParser:
    parser = RawConfigParser(strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way to keep the case of keys
    parser.read(ROOT / "units" / name)
    return parser


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree that `make install` writes, from a copy, so that no build directory of ours is shared."""
    place = tmp_path_factory.mktemp("install")
    source, root = place / "source", place / "root"
    for name in ("kdumpd", "completions", "dbus", "dracut", "units", "docs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Makefile", source)
    subprocess.run(
        ["make", "-s", "-C", str(source), "install", f"DESTDIR={root}"], check=True, capture_output=True
    )
    return root


def test_every_message_id_is_explained_and_every_explanation_has_an_id() -> None:
    explained = re.findall(r"^-- ([0-9a-f]{32})$", CATALOG, flags=re.MULTILINE)
    assert sorted(explained) == sorted(Message)


def test_the_catalog_names_only_fields_that_are_sent() -> None:
    sent = {messages.WHY, messages.JOB, messages.PLAN, messages.DUMP}
    sent |= {messages.CALLER_UID, messages.CALLER_PID, messages.METHOD, messages.RESULT}
    assert set(re.findall(r"@(\w+)@", CATALOG)) <= sent


def test_journalctl_accepts_the_catalog(installed: Path) -> None:
    (installed / "var/lib/systemd/catalog").mkdir(parents=True)
    subprocess.run(["journalctl", f"--root={installed}", "--update-catalog"], check=True, capture_output=True)
    listed = subprocess.run(
        ["journalctl", f"--root={installed}", "--list-catalog"], check=True, capture_output=True, text=True
    ).stdout
    assert {line.split()[0] for line in listed.splitlines()} == set(Message)


def test_one_version_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    changelog = (ROOT / "debian/changelog").read_text().splitlines()[0]
    assert project["version"] == kdumpd.__version__
    assert changelog.startswith(f"kdumpd ({kdumpd.__version__}) ")


def test_the_bus_finds_the_unit_only_while_it_is_enabled() -> None:
    install = unit("kdumpd.service")["Install"]
    bus_name = unit("kdumpd.service")["Service"]["BusName"]
    assert install["Alias"] == f"dbus-{bus_name}.service"


def test_nothing_hides_the_machine_from_the_daemon() -> None:
    """Each of these gives the daemon a mount namespace, and with it mounts that the machine does not have."""
    service = unit("kdumpd.service")["Service"]
    hiding = re.compile(
        r"Protect(System|Home|Kernel(Tunables|Modules|Logs)|ControlGroups|Hostname|Proc)|ProcSubset|Private(Tmp|Devices|Mounts|Users)"
        r"|(ReadWrite|ReadOnly|Inaccessible|Exec|NoExec|Bind|BindReadOnly)Paths|TemporaryFileSystem|Root(Directory|Image)"
    )
    assert [key for key in service if hiding.fullmatch(key)] == []


def test_a_boot_that_is_not_mounted_does_not_keep_the_daemon_away() -> None:
    wants = unit("kdumpd.service")["Unit"]
    assert "/boot" not in wants["RequiresMountsFor"].split()
    assert "boot.mount" in wants["Wants"].split()


def test_a_shutdown_does_not_reach_the_wish() -> None:
    wish = unit("kdump.service")
    assert wish["Unit"]["DefaultDependencies"] == "no"
    assert {"Requires", "BindsTo", "PartOf", "Conflicts"}.isdisjoint(wish["Unit"])


def test_nothing_in_a_boot_waits_for_the_early_load_but_the_daemon() -> None:
    early, daemon = unit("kdumpd-early.service"), unit("kdumpd.service")
    assert early["Unit"]["DefaultDependencies"] == "no"  # so that no target that wants it waits for it either
    assert early["Unit"]["Before"] == "kdumpd.service"
    assert "kdumpd-early.service" in daemon["Unit"]["After"].split()
    assert "kdumpd-early.service" in daemon["Unit"]["Wants"].split()
    assert "kdumpd-early.service" not in daemon["Unit"]["Requires"].split()


def test_the_early_load_waits_for_nothing_but_its_files() -> None:
    wants = unit("kdumpd-early.service")["Unit"]
    assert wants["After"] == "boot.mount"
    assert wants["RequiresMountsFor"].split() == ["/etc", tuning.Tuning().store]
    lines = (ROOT / "units/kdumpd-early.service").read_text().splitlines()
    assert f"ConditionPathExists={tuning.Tuning().store}/{LAST_GOOD}" in lines


def test_the_early_load_runs_once_in_a_boot() -> None:
    """Whoever starts kdumpd.service again wants it again, and the daemon may be loading by then."""
    early = unit("kdumpd-early.service")
    assert early["Unit"]["ConditionPathExists"] == f"!/run/{early['Service']['RuntimeDirectory']}"
    assert early["Service"]["RuntimeDirectoryPreserve"] == "yes"


def test_units_hold_no_directive_that_systemd_does_not_know(installed: Path) -> None:
    units = installed / "usr/lib/systemd/system"
    for name in ("sysinit", "basic", "shutdown", "multi-user", "local-fs"):
        (units / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    (units / "dbus.socket").write_text(
        "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=/run/b\nService=b.service\n"
    )
    (units / "b.service").write_text("[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/usr/bin/kdumpd\n")
    said = subprocess.run(
        ["systemd-analyze", "verify", f"--root={installed}", "--man=no", *OUR_UNITS],
        check=False,
        capture_output=True,
        text=True,
    ).stderr
    ours = [
        line for line in said.splitlines() if re.search(r"/(kdumpd|kdump|kdumpd-early)\.service:\d+:", line)
    ]
    assert ours == []


@pytest.mark.parametrize(
    "path",
    [
        "usr/bin/kdumpd",
        "usr/bin/kdumpctl",
        "usr/libexec/kdumpd/askpass",
        "usr/libexec/kdumpd/kdump-stopped",
        "usr/libexec/kdumpd/kdumpd-early",
        "usr/lib/systemd/system/kdumpd.service",
        "usr/lib/systemd/system/kdump.service",
        "usr/lib/systemd/system/kdumpd-early.service",
        "usr/lib/tmpfiles.d/kdumpd.conf",
        "usr/lib/systemd/system-preset/90-kdumpd.preset",
        "usr/lib/systemd/catalog/kdumpd.catalog",
        "usr/share/dbus-1/system.d/org.kdumpd.Kdump1.conf",
        "usr/share/dbus-1/system-services/org.kdumpd.Kdump1.service",
        "usr/share/polkit-1/actions/org.kdumpd.Kdump1.policy",
        "usr/share/python-dbusmock/templates/kdumpd.py",
        "usr/share/bash-completion/completions/kdumpctl",
        "usr/share/zsh/vendor-completions/_kdumpctl",
        "usr/share/fish/vendor_completions.d/kdumpctl.fish",
        "usr/share/man/man8/kdumpd.8",
        "usr/share/man/man8/kdumpctl.8",
        "usr/share/man/man5/kdump.conf.5",
        "usr/share/man/man5/kdumpd.toml.5",
        "usr/share/man/man5/org.kdumpd.Kdump1.5",
        "etc/kdump.conf",
        "etc/kdumpd.toml",
        "etc/init.d/kdump",
    ],
)
def test_install_brings(installed: Path, path: str) -> None:
    assert (installed / path).is_file()


def test_where_service_asks_for_actions_it_gets_the_one_that_systemd_does_not_know(
    installed: Path, tmp_path: Path
) -> None:
    words = ("INITDIR=", "ACTIONSDIR=/usr/libexec/initscripts/legacy-actions", f"DESTDIR={tmp_path}")
    source = installed.parent / "source"
    subprocess.run(["make", "-s", "-C", str(source), "install", *words], check=True, capture_output=True)
    action = tmp_path / "usr/libexec/initscripts/legacy-actions/kdump/propagate"
    assert action.stat().st_mode & 0o777 == 0o755
    assert not (tmp_path / "etc/init.d").exists()
    assert not (installed / "usr/libexec/initscripts").exists()


@pytest.mark.skipif(Path("/usr/bin/kdumpctl").exists(), reason="kdumpd is installed on this machine")
@pytest.mark.parametrize(("word", "status"), [("status", 3), ("start", 0), ("stop", 0)])
def test_the_script_that_a_removed_package_leaves_behind_does_not_say_that_it_is_armed(
    word: str, status: int
) -> None:
    done = subprocess.run(["sh", str(ROOT / "units/rhel6/kdump"), word], check=False, capture_output=True)
    assert (done.returncode, done.stdout + done.stderr) == (status, b"")


def test_the_template_of_python_dbusmock_finds_the_interfaces_from_where_it_lies(installed: Path) -> None:
    beside = installed / "usr/share/python-dbusmock/templates/../../dbus-1/interfaces"
    assert {each.name for each in beside.iterdir()} == {each.name for each in (ROOT / "dbus").glob("*.xml")}


def test_install_brings_the_whole_package_and_no_more(installed: Path) -> None:
    def files(top: Path) -> set[str]:
        return {
            str(path.relative_to(top))
            for path in top.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    assert files(installed / "usr/lib/python3/dist-packages/kdumpd") == files(ROOT / "kdumpd")


def test_programs_take_modules_from_the_system_alone(installed: Path) -> None:
    for name in ("bin/kdumpd", "bin/kdumpctl", "libexec/kdumpd/kdumpd-early"):
        program = installed / "usr" / name
        assert program.read_text().startswith("#!/usr/bin/python3 -I\n")
        assert program.stat().st_mode & 0o777 == 0o755


def test_an_installation_keeps_the_administrators_configuration(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/kdump.conf").write_text("path /srv\n")
    source = installed.parent / "source"
    subprocess.run(
        ["make", "-s", "-C", str(source), "install", f"DESTDIR={tmp_path}"], check=True, capture_output=True
    )
    assert (tmp_path / "etc/kdump.conf").read_text() == "path /srv\n"


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.[1-9].md")))
def test_a_man_page_has_the_name_and_section_that_man_looks_for(installed: Path, page: str) -> None:
    name, section, _ = page.rsplit(".", 2)
    text = (installed / f"usr/share/man/man{section}" / f"{name}.{section}").read_text()
    assert f".TH {name.upper()} {section} " in text
    assert f".SH NAME\n.PP\n{name} - " in text


DEFAULT_CONF = (ROOT / "units/etc/kdump.conf").read_text()


def test_the_configuration_that_is_installed_sets_nothing() -> None:
    reading = config.read(document.parse(DEFAULT_CONF), file="kdump.conf")
    assert reading.problems == ()
    assert [line for line in DEFAULT_CONF.splitlines() if line and not line.startswith("#")] == []


@pytest.mark.parametrize(
    "example", [line[1:] for line in DEFAULT_CONF.splitlines() if re.match(r"#\w", line)]
)
def test_each_example_in_it_is_right_once_its_comment_sign_is_gone(example: str) -> None:
    companions = {"core_collector scp": "ssh user@my.server.com\n", "sshkey": "ssh user@my.server.com\n"}
    before = next((text for start, text in companions.items() if example.startswith(start)), "")
    assert config.read(document.parse(f"{before}{example}\n"), file="kdump.conf").problems == ()


def test_the_values_shown_in_kdumpd_toml_are_the_defaults() -> None:
    shown = "\n".join(
        re.findall(r"^#(\w+ = .*)$", (ROOT / "units/etc/kdumpd.toml").read_text(), flags=re.MULTILINE)
    )
    reading = tuning.read(shown, file="kdumpd.toml")
    assert reading.problems == ()
    assert reading == tuning.read("", file="kdumpd.toml")
