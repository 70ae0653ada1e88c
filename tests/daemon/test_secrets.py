"""What comes along for an ssh target is for root alone: not in the journal, on D-Bus, in a job's log or in a plan."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import pytest

from kdumpd.service.bus import Value
from kdumpd.service.permissions import CONFIG, JOB, MANAGER, ROOT
from tests.daemon.test_kdumpctl import kdumpctl
from tests.service.private_bus import PrivateBus
from tests.simulate import REPOSITORY, make_machine, simulated

SERVER = "192.0.2.1"
STORE = "var/lib/kdumpd"


def give_a_server(root: Path) -> Path:
    """A card with an address, ssh, a key, and a server whose own key is known. Gives where the key is."""
    captured = root / "run/kdumpd/network"  # as a captured machine has what `ip` printed there
    captured.mkdir(parents=True, exist_ok=True)
    link = {"ifindex": 2, "ifname": "eth0", "flags": ["UP", "LOWER_UP"], "mtu": 1500, "operstate": "UP"}
    own = {"family": "inet", "local": "192.0.2.10", "prefixlen": 24, "scope": "global"}
    (captured / "link").write_text(
        json.dumps([{**link, "link_type": "ether", "address": "52:54:00:00:00:01"}])
    )
    (captured / "address").write_text(json.dumps([{"ifindex": 2, "ifname": "eth0", "addr_info": [own]}]))
    (captured / f"route-{SERVER}").write_text(
        json.dumps([{"dst": SERVER, "dev": "eth0", "prefsrc": "192.0.2.10"}])
    )
    virtio = root / "sys/devices/pci0000:00/0000:00:09.0/virtio9"
    card = virtio / "net/eth0"
    card.mkdir(parents=True)
    (root / "sys/bus/virtio/drivers/virtio_net").mkdir(parents=True)
    (virtio / "driver").symlink_to("../../../../bus/virtio/drivers/virtio_net")
    (card / "device").symlink_to("../../../virtio9")
    (root / "sys/class/net").mkdir(parents=True, exist_ok=True)
    (root / "sys/class/net/eth0").symlink_to("../../devices/pci0000:00/0000:00:09.0/virtio9/net/eth0")
    program = root / "usr/bin/ssh"
    program.write_bytes((root / "usr/bin/busybox").read_bytes())
    program.chmod(0o755)
    home = root / "root/.ssh"
    home.mkdir(parents=True, mode=0o700)
    key = home / "kdump_id_rsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    public = key.with_name(f"{key.name}.pub").read_text().split()
    (home / "known_hosts").write_text(f"{SERVER} {public[0]} {public[1]}\n")
    (home / "config").write_text("Host *\nUserKnownHostsFile /root/.ssh/known_hosts\n")
    return key


class Watched:
    """Looks at a folder in a tight loop, and remembers what in it others than its owner could have read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.seen: set[str] = set()
        self.open_to_others: set[str] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_raised: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look(self._folder)

    def _run(self) -> None:
        while not self._stop.wait(0.002):
            self._look(self._folder)

    def _look(self, path: Path, *, is_closed: bool = False) -> None:
        """What lies in a folder that others cannot enter is closed to them, whatever its own mode."""
        try:
            mode = os.lstat(path).st_mode
            below = [each.name for each in os.scandir(path)] if stat.S_ISDIR(mode) else []
        except OSError:
            return  # gone meanwhile
        is_closed = is_closed or mode & 0o077 == 0
        self.seen.add(path.name)
        if stat.S_ISREG(mode) and not is_closed:
            self.open_to_others.add(str(path))
        for name in below:
            self._look(path / name, is_closed=is_closed)


def texts(value: Value) -> Iterator[str]:
    match value:
        case str():
            yield value
        case bytes():
            yield value.decode("utf-8", "replace")
        case tuple() | list():
            for each in value:
                yield from texts(each)
        case Mapping():
            for key, each in value.items():
                yield str(key)
                yield from texts(each)
        case _:
            return


async def test_keys_and_ssh_config_are_for_root_alone(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        key = give_a_server(machine.root)
        body = [line for line in key.read_text().splitlines() if "PRIVATE KEY" not in line]
        secrets = (*body, "HostKeyAlias", "IdentityFile", "UserKnownHostsFile")
        with Watched(machine.root / STORE) as store:
            machine.conf.write_text(f"ssh kdump@{SERVER}\npath /dumps\n")
            await machine.until_armed()
        image = machine.root / str(machine.armed_with["initramfs"]).lstrip("/")
        assert any(name.startswith("tmp-") for name in store.seen), "the workshop was seen at work"
        assert image.name in store.seen
        assert store.open_to_others == set()
        assert os.stat(image).st_mode & 0o077 == 0, "also by itself"

        (path,) = await machine.client.call(ROOT, CONFIG, "TestTarget", "a{sv}a{sv}", {}, {})
        await machine.client.wait_until(str(path), JOB, lambda now: now["State"] == "done")
        told: list[Value] = [await machine.client.call(ROOT, MANAGER, "Describe", "a{sv}", {})]
        told.append(await machine.client.call(ROOT, CONFIG, "Get", "a{sv}", {}))
        objects = await machine.client.objects(ROOT)
        for path, interfaces in objects.items():
            told.extend(dict(properties) for properties in interfaces.values())
            if JOB in interfaces:
                told.append(await machine.client.call(path, JOB, "GetLog", "tua{sv}", 0, 4000, {}))
        assert sum(JOB in interfaces for interfaces in objects.values()) >= 2
        said = [text for value in told for text in texts(value)]
        said += [
            (await kdumpctl(bus, *words)).output
            for words in (("status", "--json"), ("plan", "--root", str(machine.root), "--json"))
        ]
        said.append(machine.log.read_text(errors="replace"))
        said.append((machine.root / "run/kdumpd/armed").read_text())
        assert SERVER in "".join(said), "it is told where dumps go"
        for secret in secrets:
            assert not [text[:200] for text in said if secret in text]


@pytest.mark.shows("sshkey")
def test_the_key_comes_along_so_that_there_is_something_to_hide(tmp_path: Path) -> None:
    root = make_machine(tmp_path)
    give_a_server(root)
    (root / "etc/kdump.conf").write_text(f"ssh kdump@{SERVER}\npath /dumps\n")
    ran = subprocess.run(
        [sys.executable, "-m", "kdumpd.cli", "plan", "--root", str(root)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "/root/.ssh/kdump_id_rsa" in ran.stdout
