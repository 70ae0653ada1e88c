"""Builds the Debian 13 machine that the tests crash, in three layers, each cached by what it is made of."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.vm.contents import BARE_INITRAMFS, INITRAMFS_HOOK, PACKAGES, ROOT_UUID, SUITE, furnish, furnishing
from tests.vm.requirements import ARCHIVE_KEYS, Cannot, insist
from tests.vm.store import alone, beside, cache, hold

if TYPE_CHECKING:
    from collections.abc import Callable


_BASE_OPTIONS = (
    "--mode=root",
    "--variant=apt",
    "--format=directory",
    "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    f"--essential-hook={INITRAMFS_HOOK}",
)

_DISK_SIZE = "8G"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A bootable machine: all paths lie in the cache and are read only by agreement."""

    key: str
    disk: Path
    kernel: Path
    initrd: Path
    root_uuid: str
    tree: Path
    package: Path | None


def say_on_stderr(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def package_under_test() -> Path | None:
    """The .deb named by $KDUMPD_DEB, or None: then the machine is plain Debian."""
    named = os.environ.get("KDUMPD_DEB")
    if not named:
        return None
    path = Path(named).resolve()
    if not path.is_file():
        raise Cannot(f"KDUMPD_DEB names {path}, which is not there")
    return path


def image(
    *,
    package: Path | None = None,
    base: tuple[str, ...] = PACKAGES,
    from_archive: str = "",
    say: Callable[[str], None] = say_on_stderr,
) -> Image:
    """Layers 1 to 3: the tree of the `base`'s packages, with the package installed, as a disk.  Cached; raises Cannot.

    In place of a .deb the package may be one of Debian's own, by name: `from_archive`."""
    insist()
    tree = _base_tree(base, say)
    key = _digest(
        tree.parent.name.encode(),
        Path(__file__).read_bytes(),
        furnishing(),
        package.read_bytes() if package else from_archive.encode(),
    )
    with alone(f"image-{key}"):
        finished = hold("image", key)
        if finished is None:
            _build_image(tree, cache() / f"image-{key}", package=package or from_archive, say=say)
            finished = hold("image", key)
    assert finished is not None
    return Image(
        key=key,
        disk=finished / "disk.raw",
        kernel=finished / "vmlinuz",
        initrd=finished / "initrd.img",
        root_uuid=ROOT_UUID,
        tree=tree,
        package=package,
    )


def _base_tree(packages: tuple[str, ...], say: Callable[[str], None]) -> Path:
    bare = BARE_INITRAMFS if packages == PACKAGES else ()
    options = (*_BASE_OPTIONS, *bare, f"--include={','.join(packages)}")
    key = _digest(SUITE.encode(), *(option.encode() for option in options))
    with alone(f"base-{key}"):
        finished = hold("base", key)
        if finished is None:
            _build_base(cache() / f"base-{key}", options=options, say=say)
            finished = hold("base", key)
    assert finished is not None
    return finished / "root"


def _build_base(finished: Path, *, options: tuple[str, ...], say: Callable[[str], None]) -> None:
    source = archive_source()
    say(f"building Debian {SUITE} from {source.split()[-3]} (once; a minute or two)")
    with beside(finished) as unfinished:
        _run_aloud(
            ["mmdebstrap", *options, *_apt_options(), SUITE, str(unfinished / "root"), source],
            say=say,
            on_failure="Debian could not be installed into a directory; is the mirror reachable?",
        )


def _build_image(tree: Path, finished: Path, *, package: Path | str, say: Callable[[str], None]) -> None:
    begun = time.monotonic()
    with beside(finished) as unfinished:
        root = unfinished / "root"
        _run(["cp", "-a", "--reflink=auto", str(tree), str(root)])
        (root / "etc/dpkg/dpkg.cfg.d/99mmdebstrap").unlink(missing_ok=True)
        if package:
            _install(package, root, say=say)
        furnish(root)
        _run(
            ["mke2fs", "-q", "-t", "ext4", "-U", ROOT_UUID, "-L", "root", "-d", str(root)],
            str(unfinished / "disk.raw"),
            _DISK_SIZE,
        )
        for name in ("vmlinuz", "initrd.img"):
            found = sorted((root / "boot").glob(f"{name}-*"))
            if not found:
                raise Cannot(f"the built tree has no /boot/{name}-*: the kernel package did not finish")
            shutil.copy(found[-1], unfinished / name)
        shutil.rmtree(root)
    say(f"image ready in {time.monotonic() - begun:.0f} s: {finished}")


def _install(package: Path | str, root: Path, *, say: Callable[[str], None]) -> None:
    """A .deb of this machine, or a package of Debian's by name."""
    # Services are enabled by the package's own scripts, but nothing may start in a chroot.
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    name, staged = str(package), None
    if isinstance(package, Path):
        name, staged = package.name, root / "var/cache" / package.name
        shutil.copy(package, staged)
    say(f"installing {name} into the image")
    mount_and_run = 'mount -t proc proc "$1/proc" && exec chroot "$@"'
    chroot = ["unshare", "--mount", "sh", "-c", mount_and_run, "sh", str(root)]
    chroot += [
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "LC_ALL=C.UTF-8",
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    ]
    operand = f"/var/cache/{name}" if staged else name
    install = ["apt-get", "install", "--yes", "--no-install-recommends", operand]
    try:
        if staged is None or _run_quietly([*chroot, *install]) != 0:
            if staged is not None:
                say(
                    f"{name} needs packages that the base does not have: fetching them (add them to PACKAGES)"
                )
            _run_aloud(
                [*chroot, "apt-get", "update", "-q"], say=say, on_failure="apt-get update failed in the image"
            )
            _run_aloud([*chroot, *install], say=say, on_failure=f"{name} could not be installed")
    finally:
        if staged is not None:
            staged.unlink()
        policy.unlink()


def archive_source() -> str:
    """A one-line apt source for SUITE, from the mirror that this machine itself uses."""
    uri = _own_mirror() or "http://deb.debian.org/debian"
    return f"deb [signed-by={ARCHIVE_KEYS}] {uri} {SUITE} main"


def _own_mirror() -> str | None:
    directory = Path("/etc/apt")
    texts = [
        p.read_text()
        for p in [directory / "sources.list", *sorted(directory.glob("sources.list.d/*.list"))]
        if p.exists()
    ]
    texts += [_one_line_each(p.read_text()) for p in sorted(directory.glob("sources.list.d/*.sources"))]
    own = re.search(r"^VERSION_CODENAME=(\w+)$", Path("/etc/os-release").read_text(), re.MULTILINE)
    suites = {own.group(1) if own else "stable", "stable", SUITE}
    for line in "\n".join(texts).splitlines():
        found = re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+.*\bmain\b", line)
        if (
            found
            and found.group(2) in suites
            and "debian" in found.group(1)
            and "docker" not in found.group(1)
        ):
            return found.group(1)
    return None


def _one_line_each(deb822: str) -> str:
    lines = []
    for stanza in re.split(r"\n\s*\n", deb822):
        fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
        if "deb" in fields.get("Types", "").split() and fields.get("Enabled", "yes") != "no":
            lines += [
                f"deb {uri} {suite} {fields.get('Components', '')}"
                for uri in fields.get("URIs", "").split()
                for suite in fields.get("Suites", "").split()
            ]
    return "\n".join(lines)


def _apt_options() -> list[str]:
    """This machine's own way to the mirrors (a proxy, a private authority), which mmdebstrap does not take over."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    wanted = re.findall(r'^(Acquire::https?::\S+|Acquire::Check-\S+) ("[^"]+");$', dump, re.MULTILINE)
    return [f"--aptopt={name} {value}" for name, value in wanted if "User-Agent" not in name]


def _digest(*parts: bytes) -> str:
    sum_of_parts = hashlib.sha256()
    for part in parts:
        sum_of_parts.update(len(part).to_bytes(8, "big") + part)
    return sum_of_parts.hexdigest()[:16]


def _run(options: list[str], *operands: str) -> None:
    argv = [*options, *operands]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Cannot(f"{' '.join(argv[:3])} ... ended with {done.returncode}: {done.stderr.strip()[-800:]}")


def _run_quietly(argv: list[str]) -> int:
    return subprocess.run(argv, capture_output=True, check=False).returncode


def _run_aloud(argv: list[str], *, say: Callable[[str], None], on_failure: str) -> None:
    begun = time.monotonic()
    said: list[str] = []
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            said.append(line.rstrip())
            if line.startswith(("I: ", "W: ", "E: ")):
                say(f"  {time.monotonic() - begun:4.0f} s  {line.strip()}")
    if running.returncode != 0:
        last = "\n".join(said[-25:])
        raise Cannot(f"{on_failure}\n{argv[0]} ended with {running.returncode}; its last lines:\n{last}")
    say(f"  {time.monotonic() - begun:4.0f} s  {argv[0]} done")


if __name__ == "__main__":
    print(image(package=package_under_test()))
