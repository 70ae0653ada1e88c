"""What a target that somebody asks to be tested means on this machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kdumpd.core.machine import BlockDevice
from kdumpd.core.problems import Trouble
from kdumpd.core.target_test import at_node
from tests.core.test_storage import machine

PART = BlockDevice(name="vda2", number="254:2", part_uuid="0AFD-02", part_label="dump")
MACHINE = replace(machine(), devices=(PART, replace(PART, name="cciss!c0d0", number="104:0", part_uuid="07")))


@pytest.mark.parametrize(
    ("target", "node"),
    [
        ({"type": "raw", "device": "PARTUUID=0afd-02"}, "/dev/vda2"),
        ({"type": "raw", "device": "x", "node": "PARTUUID=07"}, "/dev/cciss/c0d0"),
        ({"type": "raw", "device": "/dev/vdb"}, ""),
        ({"type": "filesystem", "device": "PARTUUID=0afd-02"}, ""),
    ],
)
def test_a_tag_of_a_raw_device_is_looked_up(target: dict[str, str], node: str) -> None:
    assert at_node(target, MACHINE).get("node", "") == node


@pytest.mark.parametrize("device", ["PARTUUID=", "PARTUUID=9", "LABEL=dump", "PARTLABEL=dump"])
def test_a_tag_that_does_not_mean_one_device_is_refused(device: str) -> None:
    with pytest.raises(Trouble):
        at_node({"type": "raw", "device": device}, MACHINE)
