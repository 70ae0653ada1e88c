"""What Debian's own package of kdump-tools ships, taken from the archive: it becomes a configuration that saves to the same place."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from kdumpd.core.import_draft import Tool
from kdumpd.core.imports import imported
from tests.machines.expect import look
from tests.machines.roots import unpack

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 300


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The text that the package's postinst copies to /etc/default/kdump-tools."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("this is no Debian: there is no apt-get or no dpkg-deb to fetch kdump-tools with")
    folder = tmp_path_factory.mktemp("kdump-tools")
    fetched = _run(folder, "apt-get", "-q", "-o", "Acquire::Retries=3", "download", "kdump-tools")
    package = next(folder.glob("kdump-tools_*.deb"), None)
    if package is None:
        pytest.skip(
            f"kdump-tools cannot be had of the archive: {fetched.stderr.strip() or fetched.stdout.strip()}"
        )
    assert _run(folder, "dpkg-deb", "-x", package.name, "tree").returncode == 0
    return (folder / "tree/usr/share/kdump-tools/kdump-tools.conf").read_text()


def _run(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)


async def test_it_saves_to_the_directory_that_the_package_names(shipped: str, tmp_path: Path) -> None:
    directory = re.search(r'^KDUMP_COREDIR="(/.*)"$', shipped, re.MULTILINE)
    assert directory is not None
    found = imported(shipped, file="kdump-tools", architecture="x86_64")
    assert found.tool is Tool.KDUMP_TOOLS
    assert found.saves_there
    assert [lack.name for lack in found.lacks] == ["kernel.panic_on_oops"]
    assert (found.variables, found.keys, found.warnings) == ((), (), ())
    unpack("virtio", tmp_path)
    resolution = (await look(tmp_path, conf=found.conf.render())).resolve()
    assert resolution.plan is not None, resolution.problems
    assert {"type": "filesystem", "directory": directory[1]}.items() <= dict(resolution.plan.target).items()


def test_each_setting_that_it_shows_as_an_example_is_known(shipped: str) -> None:
    shown = re.sub(r"^#(?=[A-Z_]+=)", "", shipped, flags=re.MULTILINE)
    found = imported(shown, file="kdump-tools", architecture="x86_64")
    names = set(re.findall(r"^([A-Z_]+)=", shown, re.MULTILINE))
    assert {"SSH", "NFS", "FTP", "KDUMP_NUM_DUMPS", "MAKEDUMP_ARGS"} <= names
    assert [lack.name for lack in found.lacks if "no such setting" in lack.why] == []
