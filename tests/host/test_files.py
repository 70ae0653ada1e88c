"""The door to files: everything stays inside the root, and a write is whole or not at all."""

from __future__ import annotations

import errno
import os
import resource
import stat
from pathlib import Path

import pytest

from kdumpd.core.inventory import Kind
from kdumpd.host.doors import Files
from kdumpd.host.real import RealFiles


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return RealFiles(str(tmp_path))


def test_an_absolute_link_leads_back_into_the_root(files: Files, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/real").write_text("ours")
    (tmp_path / "etc/link").symlink_to("/etc/real")
    assert files.read_text("/etc/link") == "ours"
    assert files.real("/etc/link") == "/etc/real"
    assert files.outside("/etc/link") == str(tmp_path / "etc/real")
    assert files.link("/etc/link") == "/etc/real"
    assert files.link("/etc/real") == ""


def test_dots_never_lead_out_of_the_root(files: Files, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/out").symlink_to("../../../../../../etc/passwd")
    assert not files.exists("/etc/out")
    assert files.real("/../../etc/out") == "/etc/passwd"
    assert files.outside("/..") == str(tmp_path) + "/"


def test_dots_after_a_link_are_those_of_where_it_leads(files: Files, tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/told").write_text("yes")
    (tmp_path / "short").symlink_to("a/b")
    assert files.read_text("/short/../told") == "yes"


def test_a_link_that_goes_in_circles_is_an_error_and_not_a_file(files: Files, tmp_path: Path) -> None:
    (tmp_path / "round").symlink_to("/round")
    with pytest.raises(OSError, match="symbolic links") as caught:
        files.read_text("/round")
    assert caught.value.errno == errno.ELOOP


def test_stat_tells_kinds_and_missing(files: Files, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir(mode=0o750)
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "broken").symlink_to("nowhere")
    assert files.stat("/dir").kind is Kind.DIRECTORY
    assert files.stat("/dir").mode == 0o750
    assert (files.stat("/file").kind, files.stat("/file").size_bytes) == (Kind.FILE, 5)
    assert files.stat("/broken").kind is Kind.MISSING
    assert files.stat("/file/below").kind is Kind.MISSING
    assert files.names("/") == ("broken", "dir", "file")
    assert files.names("/nowhere") == ()


def test_undecodable_bytes_survive_reading_and_writing(files: Files) -> None:
    files.write("/conf", b"path /var/\xff\n")
    text = files.read_text("/conf")
    files.write("/again", text.encode("utf-8", "surrogateescape"))
    assert files.read_bytes("/again") == b"path /var/\xff\n"


def test_a_write_has_its_mode_whatever_the_umask(files: Files, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        files.write("/open", b"x", mode=0o644)
        files.make_folder("/a/b", mode=0o755)
    finally:
        os.umask(before)
    files.write("/private", b"x")
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "a/b").stat().st_mode) == 0o755


def test_a_write_through_a_link_leaves_the_link(files: Files, tmp_path: Path) -> None:
    (tmp_path / "real.conf").write_text("old")
    (tmp_path / "kdump.conf").symlink_to("/real.conf")
    files.write("/kdump.conf", b"new", mode=0o644)
    assert (tmp_path / "kdump.conf").is_symlink()
    assert (tmp_path / "real.conf").read_text() == "new"


def test_a_write_that_finds_no_room_leaves_the_old_file_and_no_litter(files: Files, tmp_path: Path) -> None:
    files.write("/kdump.conf", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # EFBIG here, where a full disk says ENOSPC
    try:
        with pytest.raises(OSError, match="File too large"):
            files.write("/kdump.conf", bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files.names("/") == ("kdump.conf",)
    assert files.read_bytes("/kdump.conf") == b"old"


def test_removing_follows_no_link_and_minds_no_absence(files: Files, tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep/me").touch()
    (tmp_path / "link").symlink_to("keep")
    files.remove("/link")
    files.remove("/never-was")
    assert files.names("/keep") == ("me",)
    files.remove("/keep")
    assert files.names("/") == ()


def test_create_refuses_what_is_there(files: Files, tmp_path: Path) -> None:
    (tmp_path / "trap").symlink_to("elsewhere")
    with pytest.raises(FileExistsError):
        files.create("/trap")
    with files.create("/new") as file:
        file.write(b"whole")
    files.sync("/new")
    assert files.read_bytes("/new", limit=3) == b"who"


def test_digest_is_of_the_contents_alone(files: Files) -> None:
    files.write("/one", b"same")
    files.write("/two", b"same", mode=0o755)
    assert files.digest("/one") == files.digest("/two")
    assert len(files.digest("/one")) == 32
    files.write("/two", b"other")
    assert files.digest("/one") != files.digest("/two")


def _characters_read() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])


def test_contents_that_are_at_rest_are_read_once(tmp_path: Path) -> None:
    files = RealFiles(str(tmp_path), at_rest_ns=0)
    (tmp_path / "large").write_bytes(bytes(8 << 20))
    first = files.digest("/large")
    before = _characters_read()
    assert files.digest("/large") == first
    assert _characters_read() - before < 1 << 20


def test_contents_that_changed_a_moment_ago_are_read_each_time(tmp_path: Path) -> None:
    files = RealFiles(str(tmp_path))
    (tmp_path / "large").write_bytes(bytes(8 << 20))
    files.digest("/large")
    before = _characters_read()
    files.digest("/large")
    assert _characters_read() - before >= 8 << 20


def test_a_known_digest_ends_with_the_contents_it_is_of(tmp_path: Path) -> None:
    """Though size and mtime are as before: an older file put back, an edit within the same second."""
    files = RealFiles(str(tmp_path), at_rest_ns=0)
    file = tmp_path / "program"
    file.write_bytes(b"one")
    old = file.stat()
    first = files.digest("/program")
    while file.stat().st_ctime_ns == old.st_ctime_ns:  # the kernel's clock moves in ticks
        file.write_bytes(b"two")
        os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert (file.stat().st_mtime_ns, file.stat().st_size) == (old.st_mtime_ns, old.st_size)
    assert files.digest("/program") != first


def test_the_real_root_reads_what_the_kernel_serves() -> None:
    files: Files = RealFiles()
    assert files.read_text("/proc/self/comm")
    assert files.real("/proc/self").startswith("/proc/")
    assert files.free_bytes("/") > 0


def test_a_write_over_leaves_an_edit_that_came_between(files: Files, tmp_path: Path) -> None:
    conf = tmp_path / "kdump.conf"
    conf.write_bytes(b"old")
    assert files.write_over("/kdump.conf", b"ours", seen=b"old")
    conf.write_bytes(b"theirs")
    assert not files.write_over("/kdump.conf", b"ours", seen=b"old")
    assert conf.read_bytes() == b"theirs"
    conf.unlink()
    assert not files.write_over("/kdump.conf", b"ours", seen=b"theirs")
    assert list(tmp_path.iterdir()) == []
    assert files.write_over("/kdump.conf", b"ours", seen=None)
    assert not files.write_over("/kdump.conf", b"again", seen=None)
    assert list(tmp_path.iterdir()) == [conf]


def test_a_write_keeps_owner_and_label(files: Files, tmp_path: Path) -> None:
    conf = tmp_path / "kdump.conf"
    conf.write_bytes(b"old")
    label = b"system_u:object_r:kdump_etc_t:s0\0"
    try:
        os.setxattr(conf, "security.selinux", label)
        os.chown(conf, 1234, 5678)
    except PermissionError:
        pytest.skip("only root can give labels and owners")
    files.write("/kdump.conf", b"new", mode=0o640)
    found = conf.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 5678, 0o640)
    assert os.getxattr(conf, "security.selinux") == label
