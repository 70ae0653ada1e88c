"""What makedumpfile is asked, and how often."""

from __future__ import annotations

import stat
from pathlib import Path
from types import MappingProxyType

import pytest

from kdumpd.core.inventory import Wants
from kdumpd.core.makedumpfile import Abilities
from kdumpd.host.observe import inventory
from kdumpd.host.real import RealFiles, RealPrograms

SAYS = r"""#!/bin/sh
echo "$*" >>"${0%/*}/asked"
case $1 in
-v) printf 'makedumpfile: version 1.7.6 (released on 23 Oct 2024)\nlzo\tenabled\nsnappy\tdisabled\nzstd\tenabled\n' ;;
--check-params) case " $* " in *" --extension "*) echo "no such option" >&2; exit 1 ;; esac ;;
*) exit 3 ;;
esac
"""


def a_makedumpfile(folder: Path, text: str = SAYS) -> Path:
    program = folder / "makedumpfile"
    program.write_text(text)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


async def abilities(*argv: str, root: str = "/") -> Abilities | None:
    wanted = Wants(files=frozenset({argv[0]}), collector=argv)
    return (await inventory(RealFiles(root), RealPrograms(root), wanted)).makedumpfile


async def test_a_program_is_asked_once_for_each_command(tmp_path: Path) -> None:
    program = str(a_makedumpfile(tmp_path))
    able = Abilities(version=(1, 7, 6), compressions=frozenset({"-c", "-l", "-z"}))
    assert await abilities(program, "-l") == able
    assert await abilities(program, "-l") == able
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["-v", "--check-params -l /proc/vmcore vmcore"]
    with a_makedumpfile(tmp_path).open("a") as file:
        file.write("# another build\n")
    await abilities(program, "-l")
    assert len((tmp_path / "asked").read_text().splitlines()) == 4


async def test_what_it_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    able = await abilities(str(a_makedumpfile(tmp_path)), "-c", "--extension", "x")
    assert able is not None
    assert able.refusal == "no such option"


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 3\n", "#!/bin/sh\necho hello\n", "#!/no/such/thing\n"])
async def test_one_that_says_nothing_is_not_known(tmp_path: Path, text: str) -> None:
    assert await abilities(str(a_makedumpfile(tmp_path, text)), "-l") is None


async def test_a_program_of_another_machines_files_is_not_run(tmp_path: Path) -> None:
    a_makedumpfile(tmp_path)
    assert await abilities("/makedumpfile", "-l", root=str(tmp_path)) is None
    assert not (tmp_path / "asked").exists()


async def test_nothing_is_asked_where_the_collector_is_another() -> None:
    found = await inventory(RealFiles("/"), RealPrograms("/"), Wants(programs=frozenset({"makedumpfile"})))
    assert found.makedumpfile is None
    assert isinstance(found.files, MappingProxyType)


@pytest.mark.tools
async def test_the_real_one_answers() -> None:
    wanted = Wants(
        programs=frozenset({"makedumpfile"}),
        collector=("makedumpfile", "-l", "--message-level", "7", "-d", "31"),
    )
    able = (await inventory(RealFiles("/"), RealPrograms("/"), wanted)).makedumpfile
    assert able is not None
    assert able.version >= (1, 7)
    assert "-c" in able.compressions
    assert able.refusal == ""
