"""What is looked at between two looks: on a machine whose dump goes to a server, its addresses and routes as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdumpd.host.captures import Captures
from kdumpd.host.image import Store
from kdumpd.host.kexec import Kexec
from kdumpd.host.real import RealFiles, RealPrograms
from kdumpd.service.machinery import Machinery
from kdumpd.service.wishes import Wishes
from tests.machines.roots import unpack

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
enp1s0\t00000000\t{gateway}\t0003\t0\t0\t0\t00000000\t0\t0\t0
"""


@pytest.mark.parametrize(("case", "notices"), [("net-card", True), ("virtio", False)])
async def test_a_route_that_changes_is_noticed_where_a_server_has_to_be_reached(
    tmp_path: Path, *, case: str, notices: bool
) -> None:
    unpack(case, tmp_path)
    files, programs = RealFiles(str(tmp_path)), RealPrograms(str(tmp_path))
    store = Store(files)
    hands = Machinery(
        files=files,
        programs=programs,
        store=store,
        kexec=Kexec(files, programs),
        wishes=Wishes(files, programs, folder=store.folder),
        captures=Captures(files, path=f"{store.folder}/captures.json"),
    )
    routes = tmp_path / "proc/net/route"
    routes.parent.mkdir(parents=True, exist_ok=True)
    routes.write_text(ROUTES.format(gateway="010200C0"))
    await hands.look()
    before = await hands.glimpse()
    routes.write_text(ROUTES.format(gateway="FE0200C0"))
    assert (await hands.glimpse() != before) is notices
