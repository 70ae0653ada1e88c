"""Which firmware comes along with a module, and where it is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdumpd.core.inventory import Inventory, Wants
from kdumpd.host.doors import Output
from kdumpd.host.observe import inventory
from kdumpd.host.real import RealFiles, RealPrograms
from tests.host.scripted import Asked, StandIns

RELEASE = "6.12.0"
MODULE = f"/lib/modules/{RELEASE}/kernel/card.ko"


class Modinfo(StandIns):
    """The real programs, but for a modinfo that says the same of every module; `asked` are the modules."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.asked: list[str] = []

    def find(self, name: str) -> str:
        return "/usr/sbin/modinfo" if name == "modinfo" else super().find(name)

    async def answer(self, asked: Asked) -> Output | None:
        assert asked.argv[0] == "modinfo"
        assert 1 in asked.good, "a file that is no module is no reason to give up on the others"
        self.asked += asked.argv[1:]
        said = "".join(
            f"filename:       {path}\nfirmware:       acme/one.bin\nfirmware:       acme/two.bin\n"
            "firmware:       acme/old-*.bin\nfirmware:       ../../etc/shadow\nlicense:        GPL\n"
            for path in asked.argv[1:]
        )
        return Output(argv=asked.argv, status=0, stdout=said.encode(), stderr=b"")


def write(root: Path, path: str, text: str = "x") -> None:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, MODULE, f"a module in {tmp_path}")
    return tmp_path


async def seen(root: Path) -> tuple[Inventory, list[str]]:
    wanted = Wants(
        files=frozenset({MODULE}), modules=frozenset({MODULE}), modules_directory=f"/lib/modules/{RELEASE}"
    )
    programs = Modinfo(str(root))
    return await inventory(RealFiles(str(root)), programs, wanted), programs.asked


async def test_what_this_machine_has_of_it_comes_along_with_its_digest(root: Path) -> None:
    write(root, "/lib/firmware/acme/one.bin")
    found, _ = await seen(root)
    fed = found.firmware[MODULE]
    assert (fed.names, fed.files) == (("acme/one.bin", "acme/two.bin"), ("/lib/firmware/acme/one.bin",))
    assert found.facts("/lib/firmware/acme/one.bin").digest


async def test_where_another_file_would_be_taken_instead_is_known(root: Path) -> None:
    write(root, "/lib/firmware/acme/one.bin")
    found, _ = await seen(root)
    fed = found.firmware[MODULE]
    assert f"/lib/firmware/{RELEASE}/acme/one.bin" in fed.looked_for
    assert "/lib/firmware/acme/one.bin.zst" not in fed.looked_for  # the plain one is taken before it
    assert {"/lib/firmware/acme/two.bin", "/lib/firmware/acme/two.bin.xz"} < {*fed.looked_for}


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        (("/lib/firmware/acme/one.bin.xz",), "/lib/firmware/acme/one.bin.xz"),
        (
            ("/lib/firmware/acme/one.bin.xz", "/lib/firmware/acme/one.bin.zst"),
            "/lib/firmware/acme/one.bin.zst",
        ),
        (
            ("/lib/firmware/acme/one.bin", f"/lib/firmware/{RELEASE}/acme/one.bin"),
            f"/lib/firmware/{RELEASE}/acme/one.bin",
        ),
        (
            (f"/lib/firmware/{RELEASE}/acme/one.bin", "/lib/firmware/updates/acme/one.bin"),
            "/lib/firmware/updates/acme/one.bin",
        ),
    ],
)
async def test_it_is_found_where_the_kernel_would_find_it(
    root: Path, there: tuple[str, ...], chosen: str
) -> None:
    for path in there:
        write(root, path)
    found, _ = await seen(root)
    assert found.firmware[MODULE].files == (chosen,)


async def test_a_module_is_asked_about_once_and_its_firmware_looked_for_each_time(root: Path) -> None:
    first, asked = await seen(root)
    assert (first.firmware[MODULE].files, len(asked)) == ((), 1)
    write(root, "/lib/firmware/acme/two.bin")
    second, asked = await seen(root)
    assert (second.firmware[MODULE].files, len(asked)) == (("/lib/firmware/acme/two.bin",), 0)
    write(root, MODULE, f"another build in {root}")
    _, asked = await seen(root)
    assert len(asked) == 1


@pytest.mark.tools
async def test_what_is_no_module_has_none(root: Path) -> None:
    wanted = Wants(files=frozenset({MODULE}), modules=frozenset({MODULE}))
    write(root, MODULE, f"no module at all, in {root}")
    assert (await inventory(RealFiles(str(root)), RealPrograms("/"), wanted)).firmware == {}
