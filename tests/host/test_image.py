"""The store: what is in it is whole, whatever happened to the one who put it there."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import JsonValue

from kdumpd.core.armed import Armed
from kdumpd.core.keeping import Keep
from kdumpd.core.problems import Trouble
from kdumpd.core.storing import is_out_of_space, storing_fault
from kdumpd.host.doors import Facts
from kdumpd.host.image import FOLDER, Store
from kdumpd.host.real import RealFiles

BUILDER = """
import sys
from kdumpd.host.image import Store
from kdumpd.host.real import RealFiles

store = Store(RealFiles(sys.argv[1]))
print("ready", flush=True)
number = 0
while True:
    number += 1
    with store.workshop() as folder:
        with store._files.create(folder + "/built") as file:
            file.write(bytes([number % 256]) * 3_000_001)
        store.publish_base(f"b{number % 3}", built=folder + "/built", description={"number": number})
        with store._files.create(folder + "/overlay") as file:
            file.write(b"overlay")
        joined = store.join_image(
            f"i{number % 3}", base=f"b{number % 3}", overlay=folder + "/overlay", folder=folder
        )
        store.publish_image(joined, description=None)
"""


def _store(tmp_path: Path) -> Store:
    return Store(RealFiles(str(tmp_path)))


def _put(store: Store, tmp_path: Path, name: str, *, base: bytes = b"12345") -> None:
    with store.workshop() as folder:
        (tmp_path / folder.lstrip("/") / "base").write_bytes(base)
        (tmp_path / folder.lstrip("/") / "overlay").write_bytes(b"over")
        store.publish_base(f"b-{name}", built=f"{folder}/base", description={"is": "base"})
        joined = store.join_image(f"i-{name}", base=f"b-{name}", overlay=f"{folder}/overlay", folder=folder)
        store.publish_image(joined, description={"is": "image"}, unpacked_bytes=7)


def _armed(name: str) -> Armed:
    return Armed(
        boot_id="boot",
        loaded_us=1,
        kernel_release="6.1",
        kernel_image="/boot/vmlinuz",
        initramfs=f"{FOLDER}/images/i-{name}/initramfs.img",
        command_line="irqpoll",
        kexec_flags=("-a",),
        base=f"b-{name}",
        overlay="o",
        image=f"i-{name}",
        load="l",
        description={"target": {"type": "nfs"}},
    )


def test_what_is_published_is_there_and_private(tmp_path: Path) -> None:
    store = _store(tmp_path)
    assert (store.bases(), store.images()) == (frozenset(), frozenset())
    _put(store, tmp_path, "one")
    assert store.bases() == {"b-one"}
    assert store.images() == {"i-one"}
    image = tmp_path / store.initramfs("i-one").lstrip("/")
    assert image.read_bytes() == b"12345\0\0\0over"  # each archive begins where the kernel looks for one
    assert store.description("i-one") == {"is": "image"}
    manifest = store.manifest("i-one")
    assert manifest is not None
    assert (manifest.size_bytes, manifest.unpacked_bytes) == (12, 7)
    assert manifest.built_us > 1_700_000_000_000_000
    assert store.is_sound("i-one")
    modes = {oct(path.stat().st_mode & 0o777) for path in tmp_path.joinpath("var/lib/kdumpd").rglob("*")}
    assert modes == {"0o700", "0o600"}


def test_publishing_again_replaces(tmp_path: Path) -> None:
    store = _store(tmp_path)
    _put(store, tmp_path, "one")
    _put(store, tmp_path, "one", base=b"other")
    assert (tmp_path / store.base("b-one").lstrip("/")).read_bytes() == b"other"
    assert sorted(os.listdir(tmp_path / "var/lib/kdumpd")) == ["bases", "images"]


@pytest.mark.parametrize(
    "damage", ["cut", "longer", "gone", "no-manifest", "bad-manifest", "other-name", "folder"]
)
def test_a_damaged_entry_is_as_good_as_absent_and_is_swept(tmp_path: Path, damage: str) -> None:
    store = _store(tmp_path)
    _put(store, tmp_path, "one")
    _put(store, tmp_path, "good")
    image = tmp_path / store.initramfs("i-one").lstrip("/")
    match damage:
        case "cut":
            image.write_bytes(image.read_bytes()[:-1])
        case "longer":
            image.write_bytes(image.read_bytes() + b"x")
        case "gone":
            image.unlink()
        case "no-manifest":
            (image.parent / "description.json").unlink()
        case "bad-manifest":
            (image.parent / "description.json").write_bytes(b'{"fingerprint": "\xff')
        case "other-name":
            image.parent.rename(image.parent.parent / "i-two")
        case _:
            image.unlink()
            image.mkdir()
    assert store.images() == {"i-good"}
    assert store.description("i-one") is None
    store.sweep()
    assert os.listdir(tmp_path / "var/lib/kdumpd/images") == ["i-good"]


def test_a_flipped_bit_is_found_by_reading_all(tmp_path: Path) -> None:
    store = _store(tmp_path)
    _put(store, tmp_path, "one")
    image = tmp_path / store.initramfs("i-one").lstrip("/")
    image.write_bytes(b"X" + image.read_bytes()[1:])
    assert store.images() == {"i-one"}
    assert not store.is_sound("i-one")
    assert not store.is_sound("i-two")


class SlowDisk(RealFiles):
    """Where a second passes between writing and publishing; counts what is read whole."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.digested: list[str] = []

    def stat(self, path: str) -> Facts:
        found = super().stat(path)
        return replace(found, modified_us=found.modified_us - 1_000_000)

    def digest(self, path: str) -> str:
        self.digested.append(path)
        return super().digest(path)


def test_what_was_just_written_is_not_read_again_unless_somebody_touched_it(tmp_path: Path) -> None:
    files = SlowDisk(str(tmp_path))
    store = Store(files)
    _put(store, tmp_path, "one")
    assert store.is_sound("i-one")
    assert files.digested == []
    image = tmp_path / store.initramfs("i-one").lstrip("/")
    image.write_bytes(b"X" + image.read_bytes()[1:])
    os.utime(image, ns=(0, 0))
    assert not store.is_sound("i-one")
    _put(store, tmp_path, "two")
    _put(store, tmp_path, "one")
    assert store.is_sound("i-two")
    assert files.digested == [store.initramfs("i-one"), store.initramfs("i-two")]


def test_pruning_keeps_what_is_needed_the_last_good_and_what_was_used_last(tmp_path: Path) -> None:
    store = _store(tmp_path)
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/vmlinuz").touch()
    for name in ("a", "b", "c", "d", "e"):
        _put(store, tmp_path, name)
    store.remember_good(_armed("b"))
    store.prune(Keep(needed=("b-c", "i-c"), budget_bytes=1000))
    assert len(store.entries()) == 10
    needed = ("b-a", "i-a")
    # 5 bytes a base, 12 an image: there is room for what was built last, and for what was in use until now
    store.prune(Keep(needed=needed, budget_bytes=2 * 17 + 17 + 2))
    assert store.bases() == {"b-a", "b-b", "b-c"}
    assert store.images() == {"i-a", "i-b", "i-c"}
    gone = store.prune(Keep(needed=needed))
    assert {each.fingerprint for each in gone} == {"b-c", "i-c"}
    assert store.bases() == {"b-a", "b-b"}


def test_the_order_of_use_outlives_the_daemon_and_no_file_has_to_be_touched_for_it(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        _put(_store(tmp_path), tmp_path, name)
    for name in ("c", "a", "b"):
        _store(tmp_path).prune(Keep(needed=(f"b-{name}", f"i-{name}"), budget_bytes=1000))
    for path in tmp_path.rglob("*"):
        os.utime(path, (0, 0))
    _store(tmp_path).prune(Keep(budget_bytes=2 * 17))
    assert _store(tmp_path).images() == {"i-a", "i-b"}


def test_what_is_for_a_kernel_that_was_removed_goes_whatever_room_there_is(tmp_path: Path) -> None:
    store = _store(tmp_path)
    for release in ("6.1", "6.12"):
        with store.workshop() as folder:
            (tmp_path / folder.lstrip("/") / "built").write_bytes(b"x")
            base: JsonValue = {"kernel_release": release}
            store.publish_base(f"b-{release}", built=f"{folder}/built", description=base)
            joined = store.join_image(
                f"i-{release}", base=f"b-{release}", overlay=f"{folder}/built", folder=folder
            )
            store.publish_image(joined, description={"base": base})
    store.prune(Keep(installed=frozenset({"6.12"}), budget_bytes=1000))
    assert store.bases() | store.images() == {"b-6.12", "i-6.12"}


@pytest.mark.parametrize("damage", [b"", b"{", b"{}", b"[1, null]", b"\xff"])
def test_a_damaged_order_of_use_is_begun_anew(tmp_path: Path, damage: bytes) -> None:
    store = _store(tmp_path)
    for name in ("a", "b"):
        _put(store, tmp_path, name)
    (tmp_path / "var/lib/kdumpd/uses.json").write_bytes(damage)
    store.prune(Keep(needed=("b-a", "i-a"), budget_bytes=17))
    assert store.images() == {"i-a"}
    assert json.loads((tmp_path / "var/lib/kdumpd/uses.json").read_bytes()) == ["b-a", "i-a"]


def test_a_base_that_was_damaged_since_is_not_joined_and_is_built_again(tmp_path: Path) -> None:
    store = _store(tmp_path)
    _put(store, tmp_path, "one")
    base = tmp_path / store.base("b-one").lstrip("/")
    base.write_bytes(b"X" + base.read_bytes()[1:])
    assert store.bases() == {"b-one"}
    with store.workshop() as folder:
        (tmp_path / folder.lstrip("/") / "overlay").write_bytes(b"other")
        with pytest.raises(Trouble) as caught:
            store.join_image("i-two", base="b-one", overlay=f"{folder}/overlay", folder=folder)
    assert [problem.code for problem in caught.value.problems] == ["image-damaged"]
    assert store.images() == {"i-one"}
    assert store.bases() == frozenset()


def test_what_a_proof_recorded_is_given_back_only_as_it_was(tmp_path: Path) -> None:
    store = _store(tmp_path)
    _put(store, tmp_path, "without")
    assert store.record("b-without") is None
    with store.workshop() as folder:
        (tmp_path / folder.lstrip("/") / "base").write_bytes(b"base")
        store.publish_base("b-with", built=f"{folder}/base", description=None, record=b"what is in it")
    assert store.record("b-with") == b"what is in it"
    record = tmp_path / FOLDER.lstrip("/") / "bases/b-with/contents.json"
    record.write_bytes(b"What is in it")
    assert store.record("b-with") is None
    record.unlink()
    assert store.record("b-with") is None
    assert store.bases() == {"b-with", "b-without"}


def test_the_last_good_is_believed_while_its_files_are_there(tmp_path: Path) -> None:
    store = _store(tmp_path)
    assert store.last_good() is None
    _put(store, tmp_path, "one")
    store.remember_good(_armed("one"))
    assert store.last_good() is None  # there is no kernel
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/vmlinuz").touch()
    assert store.last_good() == _armed("one")
    (tmp_path / "var/lib/kdumpd/last-good.json").write_bytes(b"{\xff")
    assert store.last_good() is None


def test_a_workshop_is_gone_afterwards_whatever_happened(tmp_path: Path) -> None:
    store = _store(tmp_path)
    folders: list[str] = []

    def fail() -> None:
        with store.workshop() as folder:
            folders.append(folder)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not (tmp_path / folders[0].lstrip("/")).exists()


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "no-space"),
        (errno.EDQUOT, "no-space"),
        (errno.EROFS, "store-unwritable"),
        (errno.EACCES, "store-unwritable"),
        (errno.EIO, "store-failing"),
    ],
)
def test_each_fault_of_the_disk_has_a_name(number: int, code: str) -> None:
    problem = storing_fault(OSError(number, os.strerror(number)), FOLDER)
    assert problem.code == code
    assert os.strerror(number) in problem.message


def test_a_full_disk_is_known_by_a_programs_last_words() -> None:
    assert is_out_of_space("zstd: error 70 : Write error : cannot write block : No space left on device")
    assert not is_out_of_space("zstd: no such file")


def test_a_store_that_cannot_be_written_is_trouble_and_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var/lib").write_text("a file where the folder should be")
    store = _store(tmp_path)
    assert store.images() == frozenset()
    with pytest.raises(Trouble) as caught:
        store.remember_good(_armed("one"))
    assert caught.value.problems[0].code == "store-failing"


@pytest.mark.parametrize("milliseconds", [1, 7, 23, 60, 110, 170])
def test_a_builder_killed_at_any_moment_leaves_a_store_that_is_whole(
    tmp_path: Path, milliseconds: int
) -> None:
    with subprocess.Popen([sys.executable, "-c", BUILDER, str(tmp_path)], stdout=subprocess.PIPE) as builder:
        assert builder.stdout is not None
        assert builder.stdout.readline() == b"ready\n"
        time.sleep(milliseconds / 1000)  # any moment will do, and there is nothing to be waited for
        builder.send_signal(signal.SIGKILL)
    store = _store(tmp_path)
    files = RealFiles(str(tmp_path))
    for fingerprint in store.bases():
        manifest = store.base_manifest(fingerprint)
        assert manifest is not None
        assert manifest.digest == files.digest(store.base(fingerprint))
    assert all(store.is_sound(fingerprint) for fingerprint in store.images())
    store.sweep()
    store.sweep()
    assert not [name for name in files.names(FOLDER) if name.startswith("tmp-")]
    _put(store, tmp_path, "after")
    assert "i-after" in store.images()
