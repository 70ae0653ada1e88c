"""Files of the host in the image: each where its programs look for it, once, with all it needs."""

from __future__ import annotations

from types import MappingProxyType

from kdumpd.core.contents import Contents
from kdumpd.core.inventory import FileFacts, Inventory, Kind
from kdumpd.core.plan import FromHost, Link
from kdumpd.core.problems import Problem

MISSING = Problem(code="gone", message="it is gone", file="/etc/kdump.conf", line=3, key="extra_bins")
LOADER, LIBC = "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"


def file(path: str, *, real: str = "", libraries: tuple[str, ...] = (), interpreter: str = "") -> FileFacts:
    return FileFacts(
        path=path,
        kind=Kind.FILE,
        real=real or path,
        mode=0o755,
        digest=f"of {real or path}",
        libraries=libraries,
        interpreter=interpreter,
    )


def contents(*files: FileFacts, beneath: frozenset[str] = frozenset()) -> Contents:
    known = {each.path: each for each in (*files, file(LOADER), file(LIBC, real="/usr" + LIBC))}
    return Contents(inventory=Inventory(files=MappingProxyType(known), programs={}), beneath=beneath)


def test_a_program_brings_its_libraries_to_where_the_loader_looks() -> None:
    found = contents(file("/bin/x", libraries=(LIBC, LOADER)))
    found.add("/bin/x", said_by=MISSING)
    assert found.paths == {"/usr/bin/x", "/usr" + LIBC, "/usr" + LOADER}
    assert found.problems == {}


def test_a_link_stays_a_link_and_what_it_leads_to_is_there_once() -> None:
    found = contents(file("/sbin/insmod", real="/bin/kmod"), file("/sbin/modprobe", real="/bin/kmod"))
    found.add("/sbin/insmod", said_by=MISSING)
    found.add("/sbin/modprobe", said_by=MISSING)
    assert found.items["/usr/sbin/insmod"] == Link(path="/usr/sbin/insmod", target="/usr/bin/kmod")
    assert found.items["/usr/bin/kmod"] == FromHost(
        path="/usr/bin/kmod", source="/bin/kmod", digest="of /bin/kmod", mode=0o755
    )
    assert len(found.items) == 3


def test_a_library_from_a_folder_of_ld_so_conf_is_linked_to_where_no_cache_is_needed() -> None:
    odd = "/opt/vendor/lib/libodd.so.1"
    found = contents(file("/opt/tool", libraries=(odd, LOADER)), file(odd))
    found.add("/opt/tool", said_by=MISSING)
    assert found.items["/usr/lib/libodd.so.1"] == Link(path="/usr/lib/libodd.so.1", target=odd)
    assert isinstance(found.items[odd], FromHost)


def test_what_the_base_has_is_not_brought_again_but_what_is_asked_for_is() -> None:
    base = frozenset({"/usr" + LIBC, "/usr" + LOADER, "/usr/bin/cp", "/usr/bin/sh"})
    found = contents(
        file("/bin/cp", libraries=(LIBC, LOADER)), file("/etc/hook", interpreter="/bin/sh"), beneath=base
    )
    found.add("/bin/cp", said_by=MISSING)
    found.add("/etc/hook", said_by=MISSING)
    assert found.paths == {"/usr/bin/cp", "/etc/hook"}
    assert found.problems == {}


def test_interpreters_bring_their_own_libraries() -> None:
    found = contents(file("/etc/hook", interpreter="/bin/bash"), file("/bin/bash", libraries=(LIBC, LOADER)))
    found.add("/etc/hook", said_by=MISSING)
    assert {"/etc/hook", "/usr/bin/bash", "/usr" + LIBC, "/usr" + LOADER} == found.paths


def test_what_is_missing_is_told_with_the_line_that_wants_it() -> None:
    found = contents(file("/opt/tool", libraries=("/opt/gone.so",)))
    found.add("/opt/nothing", said_by=MISSING)
    found.add("/opt/tool", said_by=MISSING)
    assert [(problem.code, problem.line, problem.key) for problem in found.problems.values()] == [
        ("gone", 3, "extra_bins"),
        ("interpreter-missing", 3, "extra_bins"),
    ]
