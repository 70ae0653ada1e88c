"""The agent saves to a host over ssh: a real ssh and a real sshd, only the crashed memory is none."""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from kdumpd.core import ssh
from kdumpd.core.environment import AfterFailure, CaptureEnvironment
from kdumpd.core.summary import CaptureResult, read_summary
from kdumpd.core.targets import TargetKind
from tests.agent.capture_kernel import ENVIRONMENT, CaptureKernel
from tests.agent.ssh_server import ADDRESSES, USER, SshServer

pytestmark = pytest.mark.tools

COLLECTOR = """called "$@"
case $1 in
--dump-dmesg) cat "$KDUMPD_ROOT/crashed.log" >"$3" ;;
*) for input; do :; done; exec cat "$input" ;;
esac"""


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> SshServer:
    return SshServer(tmp_path_factory.mktemp("ssh") / "server")


@pytest.fixture
def sending(kernel: CaptureKernel, server: SshServer) -> CaptureKernel:
    """A capture kernel with what a plan would have put into its image."""
    kernel.program("makedumpfile", COLLECTOR)
    for name in ("ssh", "scp"):
        real = shutil.which(name)
        assert real, f"{name} is not installed"
        os.symlink(real, kernel.root / "bin" / name)
    know(kernel, server, server.host_key)
    return kernel


def know(kernel: CaptureKernel, server: SshServer, host_key: str, *, key: str = "user") -> None:
    of = ssh.SshServer(
        options={"hostname": "vault", "port": str(server.port)}, known_hosts=(f"vault {host_key}",)
    )
    text = ssh.config_text(of, key=str(server.folder / key), addresses=ADDRESSES)
    kernel.write(
        "kdump/ssh_config", text.replace(ssh.KNOWN_HOSTS, f"{kernel.root}{ssh.KNOWN_HOSTS}").encode()
    )
    kernel.write("kdump/known_hosts", ssh.known_hosts_text(of).encode())


def to(
    directory: Path | str, *, address: int = 1, collector: tuple[str, ...] = ("makedumpfile", "-F", "-l")
) -> CaptureEnvironment:
    return replace(
        ENVIRONMENT,
        target_kind=TargetKind.SSH,
        target_device=f"{USER}@vault",
        target_fstype="",
        target_directory=str(directory),
        directory_prefix="2001:db8::7",
        ssh_hosts=(f"{USER}@kdump-{address}",),
        ssh_retry_seconds=0.05,
        remote_parent=shlex.quote(str(directory)),
        remote_beginning=shlex.quote(f"{directory}/2001:db8::7-"),
        core_collector=collector,
        stream_collector=collector,
        root_device="/dev/vda1",
        root_fstype="ext4",
    )


@pytest.mark.parametrize(
    ("name", "address"), [("plain", 1), ('it\'s a "$HOME" `id`; * \\ dir', 2)], ids=["plain-ipv4", "odd-ipv6"]
)
@pytest.mark.shows("ssh", "core_collector makedumpfile -F")
def test_a_flattened_stream_is_renamed_once_it_is_whole(
    sending: CaptureKernel, server: SshServer, tmp_path: Path, name: str, address: int
) -> None:
    with server.running():
        sending.capture(to(tmp_path / "kept" / name, address=address))
    dump = sending.dump(below=tmp_path / "kept" / name)
    assert dump.name.startswith("2001:db8::7-")
    assert sorted(file.name for file in dump.iterdir()) == [
        "kexec-dmesg.log",
        "summary.json",
        "vmcore-dmesg.txt",
        "vmcore.flat",
    ]
    assert (dump / "vmcore.flat").read_bytes() == b"the memory of the crashed kernel"
    assert "Kernel panic" in (dump / "vmcore-dmesg.txt").read_text()
    summary = sending.summary(below=tmp_path / "kept" / name)
    assert summary.result is CaptureResult.SAVED
    assert summary.vmcore_bytes == 32
    assert summary.directory == str(dump)
    assert summary.panic.startswith("Kernel panic")
    assert sending.calls[-1] == "reboot -n -f"


@pytest.mark.parametrize("address", [1, 2], ids=["ipv4", "ipv6"])
@pytest.mark.shows("ssh", "core_collector scp", "an ssh server by IPv6")
def test_scp_copies_the_memory_as_it_is(
    sending: CaptureKernel, server: SshServer, tmp_path: Path, address: int
) -> None:
    with server.running():
        sending.capture(to(tmp_path / "kept", address=address, collector=("scp", "-C")))
    dump = sending.dump(below=tmp_path / "kept")
    assert (dump / "vmcore").read_bytes() == b"the memory of the crashed kernel"
    assert sending.summary(below=tmp_path / "kept").result is CaptureResult.SAVED


def test_a_server_that_never_answers_is_waited_for_and_told(
    sending: CaptureKernel, server: SshServer, tmp_path: Path
) -> None:
    sending.capture(to(tmp_path / "kept"))
    assert "Connection refused" in sending.console
    (record,) = (sending.rootfs / "var/lib/kdumpd/failures").iterdir()
    assert "cannot be used: ssh: connect" in record.read_text()
    assert sending.calls[-1] == "reboot -n -f"


def test_the_second_address_serves_where_the_first_does_not(
    sending: CaptureKernel, server: SshServer, tmp_path: Path
) -> None:
    both = replace(to(tmp_path / "kept"), ssh_hosts=(f"{USER}@kdump-1", f"{USER}@kdump-2"))
    with server.running(f"ListenAddress [::1]:{server.port}"):
        config = sending.root / "kdump/ssh_config"
        config.write_text(config.read_text().replace("HostName 127.0.0.1", "HostName 127.0.0.254"))
        sending.capture(both)
    assert sending.summary(below=tmp_path / "kept").result is CaptureResult.SAVED


def test_another_host_key_than_the_known_one_gets_nothing(
    sending: CaptureKernel, server: SshServer, tmp_path: Path
) -> None:
    know(sending, server, " ".join((server.folder / "stranger.pub").read_text().split()[:2]))
    with server.running():
        sending.capture(to(tmp_path / "kept"))
    assert not (tmp_path / "kept").exists()
    assert "Host key verification failed" in sending.console


def test_a_key_that_the_server_does_not_know_ends_in_a_failure(
    sending: CaptureKernel, server: SshServer, tmp_path: Path
) -> None:
    know(sending, server, server.host_key, key="stranger")
    with server.running():
        sending.capture(to(tmp_path / "kept"))
    assert "Permission denied" in sending.console
    assert sending.calls[-1] == "reboot -n -f"


def test_a_directory_that_cannot_be_made_is_not_asked_for_again(
    sending: CaptureKernel, server: SshServer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with server.running():
        sending.capture(replace(to(tmp_path / "file/below"), disk_timeout=600))
    (record,) = (sending.rootfs / "var/lib/kdumpd/failures").iterdir()
    assert "Not a directory" in record.read_text()


def test_a_collector_that_fails_leaves_its_part_and_the_reason(
    sending: CaptureKernel, server: SshServer, tmp_path: Path
) -> None:
    sending.program("makedumpfile", 'echo half; [ "$1" = --dump-dmesg ] || exit 3')
    with server.running():
        sending.capture(to(tmp_path / "kept"))
    dump = sending.dump(below=tmp_path / "kept")
    assert (dump / "vmcore-incomplete.flat").read_bytes() == b"half\n"
    summary = sending.summary(below=tmp_path / "kept")
    assert (summary.result, summary.failing_step) == (CaptureResult.FAILED, "collect")
    assert "ended with 3" in summary.reason
    (record,) = (sending.rootfs / "var/lib/kdumpd/failures").iterdir()
    assert read_summary(record.read_bytes()).reason == summary.reason


def test_a_server_that_is_left_for_the_root_file_system_has_the_true_record(
    sending: CaptureKernel, server: SshServer, tmp_path: Path
) -> None:
    sending.program("makedumpfile", 'echo half; [ "$1" = --dump-dmesg ] || exit 3')
    with server.running():
        sending.capture(replace(to(tmp_path / "kept"), failure_action=AfterFailure.DUMP_TO_ROOTFS))
    assert "ended with 3" in sending.summary(below=tmp_path / "kept").reason


def test_a_dump_that_is_whole_and_has_its_name_is_saved_whatever_sync_waits_for(
    sending: CaptureKernel, server: SshServer, tmp_path: Path
) -> None:
    """A sync without a file waits for each disk of the server."""
    sync = tmp_path / "server/sync"
    sync.parent.mkdir()
    sync.write_text('#!/bin/sh\ncase "$*" in *incomplete*) exit 0 ;; esac\nexec sleep 9\n')
    sync.chmod(0o755)
    with server.running(f'ForceCommand PATH={sync.parent}:$PATH; eval "$SSH_ORIGINAL_COMMAND"'):
        sending.capture(replace(to(tmp_path / "kept"), stall_seconds=4))
    summary = sending.summary(below=tmp_path / "kept")
    assert (summary.result, summary.vmcore_bytes) == (CaptureResult.SAVED, 32)
    assert "did not say that it wrote the dump's name to its disk" in sending.console


def test_too_little_room_on_the_server_is_told_before_the_dump(
    sending: CaptureKernel, server: SshServer, tmp_path: Path
) -> None:
    with server.running():
        sending.capture(replace(to(tmp_path / "kept"), least_free_mib=1 << 40))
    summary = sending.summary(below=tmp_path / "kept")
    assert summary.reason.startswith("no space: ")
    assert (sending.dump(below=tmp_path / "kept") / "vmcore-dmesg.txt").exists()


def test_a_stalled_server_is_left_in_time(sending: CaptureKernel, server: SshServer, tmp_path: Path) -> None:
    sending.program("makedumpfile", "case $1 in --dump-dmesg) ;; *) echo begun; exec sleep 60 ;; esac")
    with server.running():
        sending.capture(replace(to(tmp_path / "kept"), stall_seconds=1))
    summary = sending.summary(below=tmp_path / "kept")
    assert summary.failing_step == "collect"
    assert "no progress for 1 s" in summary.reason


def test_nothing_secret_is_on_the_console_or_in_the_record(
    sending: CaptureKernel, server: SshServer, tmp_path: Path
) -> None:
    with server.running():
        sending.capture(to(tmp_path / "kept"))
    key = (server.folder / "user").read_text().splitlines()[1]
    dump = sending.dump(below=tmp_path / "kept")
    told = sending.console + "".join(file.read_text() for file in dump.iterdir())
    assert key not in told
    assert str(server.folder / "user") not in told
