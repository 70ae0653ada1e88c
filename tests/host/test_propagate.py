"""A key for the server: made where there is none, believed only where it was told, proved by a file; no password is left."""

from __future__ import annotations

import asyncio
import errno
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kdumpd.core import propagate
from kdumpd.core.problems import Trouble
from kdumpd.host.doors import Output, ProgramFailed
from kdumpd.host.propagate import ASKPASS, PASSWORD_IN, Propagation, Propagations
from kdumpd.host.real import RealFiles
from tests.host.scripted import Asked, StandIns

pytestmark = pytest.mark.tools

KEY = "/root/.ssh/kdump_id_rsa"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDWYQu6l0gjEGCSsLVSTKpzkvRkNTQSvZJpiCDPDLmOI"
SECRET = "it's $HOME"
WISH = Propagation(
    destination="dump@vault",
    directory="/srv/dumps",
    key=KEY,
    host="192.0.2.1",
    port="2222",
    name="[192.0.2.1]:2222",
    host_name="anvil",
    is_known=True,
    password=SECRET,
)
ASKPASS_PROGRAM = Path(__file__).parents[2] / "units/askpass"


class Network(StandIns):
    """Stands in for the programs that would reach a server; `refuses` is in the one that fails."""

    def __init__(self, root: Path, refuses: str = "") -> None:
        super().__init__(str(root))
        self.asked: list[Asked] = []
        self._refuses = refuses

    async def answer(self, asked: Asked) -> Output | None:
        self.asked.append(asked)
        name = asked.argv[0]
        if name == "ssh-keygen":
            return None
        refuses = bool(self._refuses) and self._refuses in asked.argv[-1] + name
        said = f"# vault SSH-2.0\n[192.0.2.1]:2222 {HOST_KEY}\n" if name == "ssh-keyscan" else ""
        words = "some banner\nPermission denied (publickey,password).\n" if refuses else ""
        output = Output(argv=asked.argv, status=int(refuses), stdout=said.encode(), stderr=words.encode())
        if refuses:
            raise ProgramFailed(output, "ended with 1")
        return output


async def given(root: Path, wish: Propagation = WISH, *, refuses: str = "") -> tuple[Network, list[str]]:
    programs, said = Network(root, refuses), list[str]()
    await Propagations(RealFiles(str(root)), programs).give(wish, say=said.append)
    return programs, said


async def test_a_key_is_made_given_and_proved(tmp_path: Path) -> None:
    programs, said = await given(tmp_path)
    key = tmp_path / KEY.lstrip("/")
    assert (key.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert key.with_name(f"{key.name}.pub").read_text().startswith("ssh-ed25519 ")
    argvs = [asked.argv for asked in programs.asked]
    assert argvs[1] == ("ssh-copy-id", "-i", f"{key}.pub", "dump@vault")
    assert [argv[-1].split()[0] for argv in argvs[2:]] == ["mkdir", "cat", "mv", "rm"]
    assert all("BatchMode=yes" in argv for argv in argvs[2:])
    assert said[-1] == "a file could be written to /srv/dumps"


async def test_the_password_is_in_the_environment_of_one_program_alone(tmp_path: Path) -> None:
    programs, said = await given(tmp_path)
    assert SECRET not in f"{[asked.argv for asked in programs.asked]}{said}{WISH}"
    (holder,) = (asked for asked in programs.asked if PASSWORD_IN in asked.environment)
    assert holder.argv[0] == "ssh-copy-id"
    env = holder.environment
    assert (env["SSH_ASKPASS"], env["SSH_ASKPASS_REQUIRE"], env["HOME"]) == (ASKPASS, "force", "/root")


def test_what_ssh_asks_for_a_password_prints_it_as_it_is() -> None:
    env = {PASSWORD_IN: SECRET}
    printed = subprocess.run(
        [ASKPASS_PROGRAM, "Password:"], env=env, capture_output=True, text=True, check=True
    )
    assert printed.stdout == f"{SECRET}\n"


async def test_a_key_that_is_there_stays_and_gets_its_other_half(tmp_path: Path) -> None:
    await given(tmp_path)
    key = tmp_path / KEY.lstrip("/")
    public = key.with_name(f"{key.name}.pub")
    before, half = key.read_bytes(), public.read_text().split()[:2]
    public.unlink()
    await given(tmp_path)
    assert key.read_bytes() == before
    assert public.read_text().split()[:2] == half


async def test_a_server_is_believed_by_its_fingerprint_alone(tmp_path: Path) -> None:
    known = tmp_path / "root/.ssh/known_hosts"
    known.parent.mkdir(parents=True)
    known.write_text("other ssh-rsa AAAA\n")
    mark = propagate.fingerprint(f"x {HOST_KEY}")
    with pytest.raises(Trouble) as nobody:
        await given(tmp_path, replace(WISH, is_known=False))
    assert nobody.value.problems[0].code == "ssh-host-unknown"
    assert mark in nobody.value.problems[0].hint
    with pytest.raises(Trouble):
        await given(tmp_path, replace(WISH, is_known=False, host_key="SHA256:another"))
    assert known.read_text() == "other ssh-rsa AAAA\n"
    await given(tmp_path, replace(WISH, is_known=False, host_key=mark))
    assert known.read_text() == f"other ssh-rsa AAAA\n[192.0.2.1]:2222 {HOST_KEY}\n"


def test_a_fingerprint_is_the_one_that_ssh_shows(tmp_path: Path) -> None:
    file = tmp_path / "known"
    file.write_text(f"vault {HOST_KEY}\n")
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(file)], capture_output=True, text=True, check=True
    ).stdout
    assert propagate.fingerprint(f"vault {HOST_KEY}") == shown.split()[1]
    assert propagate.fingerprint("vault ssh-rsa ???") == propagate.fingerprint("# vault") == ""


@pytest.mark.parametrize(
    ("refuses", "told"),
    [
        ("ssh-copy-id", "dump@vault does not take the key: Permission denied (publickey,password)."),
        (
            "mkdir",
            "a dump could not be saved to /srv/dumps on dump@vault: Permission denied (publickey,password).",
        ),
        (
            "cat",
            "a dump could not be saved to /srv/dumps on dump@vault: Permission denied (publickey,password).",
        ),
    ],
)
async def test_what_the_server_refuses_is_told_and_cleared_away(
    tmp_path: Path, refuses: str, told: str
) -> None:
    with pytest.raises(Trouble) as trouble:
        await given(tmp_path, refuses=refuses)
    assert (trouble.value.problems[0].code, trouble.value.problems[0].message) == ("target-unreachable", told)


class HalfAKey(StandIns):
    """An ssh-keygen that is ended while it writes."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self.reached = asyncio.Event()

    async def answer(self, asked: Asked) -> Output | None:
        Path(asked.argv[-1]).write_text("-----BEGIN")  # noqa: ASYNC240
        self.reached.set()
        await asyncio.Event().wait()
        return None


async def _cancelled_half_way(files: RealFiles, root: Path) -> list[str]:
    """What was said."""
    programs, said = HalfAKey(root), list[str]()
    giving = asyncio.create_task(Propagations(files, programs).give(WISH, say=said.append))
    async with asyncio.timeout(10):
        await programs.reached.wait()
    giving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await giving
    return said


async def test_half_a_key_is_not_left_to_be_taken_for_one(tmp_path: Path) -> None:
    assert await _cancelled_half_way(RealFiles(str(tmp_path)), tmp_path) == []
    assert not (tmp_path / KEY.lstrip("/")).exists()


async def test_a_public_half_that_was_there_before_stays(tmp_path: Path) -> None:
    public = tmp_path / f"{KEY.lstrip('/')}.pub"
    public.parent.mkdir(parents=True)
    public.write_text("ssh-ed25519 AAAA theirs\n")
    await _cancelled_half_way(RealFiles(str(tmp_path)), tmp_path)
    assert public.read_text() == "ssh-ed25519 AAAA theirs\n"
    assert not (tmp_path / KEY.lstrip("/")).exists()


class ReadOnlyMeanwhile(RealFiles):
    """The file system takes no change any more."""

    def remove(self, path: str) -> None:
        raise OSError(errno.EROFS, "Read-only file system", path)


async def test_half_a_key_that_cannot_be_removed_does_not_stand_in_the_way_of_the_end(tmp_path: Path) -> None:
    said = await _cancelled_half_way(ReadOnlyMeanwhile(str(tmp_path)), tmp_path)
    assert said[0] == f"{KEY} may be half a key: Read-only file system"
