"""A target behind an iSCSI session: the agent logs in with the words of the plan, once, and says none of the secrets."""

from __future__ import annotations

import pytest

from kdumpd.core import iscsi
from kdumpd.core.iscsi import IscsiSession
from kdumpd.core.summary import CaptureResult
from tests.agent.capture_kernel import CaptureKernel

SESSION = IscsiSession(
    target="iqn.2026-01.test.kdumpd:one two",
    initiator="iqn.2026-01.test.kdumpd:client",
    address="2001:db8::1",
    user="crash box",
    password="it's $HOME `secret`",
)
# The first try comes too early; with the second one the disk is there.
ISCSISTART = """printf '<%s>' "$@" >>"$KDUMPD_ROOT/given"; echo >>"$KDUMPD_ROOT/given"
if [ -e "$KDUMPD_ROOT/early" ]; then : >"$KDUMPD_ROOT/dev/sda"; else : >"$KDUMPD_ROOT/early"; exit 1; fi"""


def _logs_in(kernel: CaptureKernel, session: IscsiSession) -> list[str]:
    """What iscsistart was given, a line for each call."""
    file = iscsi.told(session)
    kernel.write(file.path.lstrip("/"), file.text.encode())
    kernel.program("iscsistart", ISCSISTART)
    kernel.capture(
        target_device="/dev/sda", bring_up=(iscsi.login(session),), target_needs_network=1, disk_timeout=20
    )
    return (kernel.root / "given").read_text().splitlines()


@pytest.mark.shows("iSCSI")
def test_it_logs_in_until_that_succeeds_and_not_again(kernel: CaptureKernel) -> None:
    calls = _logs_in(kernel, SESSION)
    assert (
        calls
        == [
            (
                "<-i><iqn.2026-01.test.kdumpd:client><-t><iqn.2026-01.test.kdumpd:one two><-g><1>"
                "<-a><2001:db8::1><-p><3260><-u><crash box><-w><it's $HOME `secret`>"
            )
        ]
        * 2
    )
    assert kernel.summary().result is CaptureResult.SAVED


def test_nothing_is_said_of_a_password(kernel: CaptureKernel) -> None:
    _logs_in(kernel, SESSION)
    record = (kernel.dump() / "kexec-dmesg.log").read_text(errors="replace")
    assert "not yet: log_in_to_iscsi" in kernel.console
    for text in (kernel.console, record, (kernel.dump() / "summary.json").read_text()):
        assert "secret" not in text
        assert "crash box" not in text


def test_without_a_network_nothing_is_awaited(kernel: CaptureKernel) -> None:
    kernel.program("iscsistart", 'called "$@"')
    kernel.capture(
        target_device="/dev/sda",
        bring_up=(iscsi.login(SESSION),),
        target_needs_network=1,
        network=("await_cards enp1s0 52:54:00:00:0c:01",),
        disk_timeout=1,
    )
    assert "no card with the address 52:54:00:00:0c:01 came" in kernel.console
    assert not any(call.startswith("iscsistart") for call in kernel.calls)
