"""Loading: one call, named faults, and a record that never claims what is not loaded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kdumpd.core.armed import Armed
from kdumpd.core.problems import Trouble
from kdumpd.host.doors import Output, ProgramFailed
from kdumpd.host.kexec import Kexec
from kdumpd.host.real import RealFiles
from kdumpd.host.simulated import SimulatedPrograms
from tests.host.scripted import MISSING, Answer, Asked, ScriptedPrograms, StandIns

BUSY = Answer(status=255, stderr="kexec_file_load failed: Device or resource busy")


class Lab:
    """A root directory whose files say what a kernel would."""

    def __init__(self, root: Path, *, layout: str = "old") -> None:
        self.root = root
        self.slept: list[float] = []
        self.crash = "sys/kernel/kexec/crash_" if layout == "new" else "sys/kernel/kexec_crash_"
        self.say(self.crash + "loaded", "0")
        self.say(self.crash + "size", str(256 << 20))
        self.say("proc/sys/kernel/random/boot_id", "boot-1")
        self.say("proc/sys/kernel/kexec_load_disabled", "0")
        self.say("boot/vmlinuz", "MZ")
        self.say("store/initramfs.img", "070701")
        self.programs = ScriptedPrograms()
        self.kexec = Kexec(RealFiles(str(root)), self.programs, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def say(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text + "\n")

    def loaded(self, value: str) -> None:
        self.say(self.crash + "loaded", value)

    def expect_load(self, answer: Answer) -> None:
        self.programs.expect(
            "kexec",
            "-p",
            "-s",
            f"--initrd={self.root}/store/initramfs.img",
            "--command-line=irqpoll it's",
            f"{self.root}/boot/vmlinuz",
            answer=answer,
        )

    def expect_success(self) -> None:
        self.expect_load(Answer(first=lambda: self.loaded("1")))

    @property
    def records(self) -> set[str]:
        run = self.root / "run/kdumpd"
        return {path.name for path in run.iterdir()} if run.exists() else set()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def _wanted(load: str = "l") -> Armed:
    return Armed(
        boot_id="an earlier boot",
        loaded_us=1,
        kernel_release="6.1",
        kernel_image="/boot/vmlinuz",
        initramfs="/store/initramfs.img",
        command_line="irqpoll it's",
        kexec_flags=("-s",),
        base="b",
        overlay="o",
        image="i",
        load=load,
        description=None,
    )


async def _code(lab: Lab) -> str:
    with pytest.raises(Trouble) as caught:
        await lab.kexec.load(_wanted())
    (problem,) = caught.value.problems
    return problem.code


@pytest.mark.parametrize("layout", ["old", "new"])
async def test_a_load_is_one_call_and_is_written_down(tmp_path: Path, layout: str) -> None:
    lab = Lab(tmp_path, layout=layout)
    lab.expect_success()
    record = await lab.kexec.load(_wanted())
    assert lab.programs.script == []
    assert record.boot_id == "boot-1"
    assert record.loaded_us > 1
    assert lab.kexec.armed() == record
    assert lab.kexec.intent() is None
    assert lab.kexec.crash_kernel().layout == layout
    assert (tmp_path / "run/kdumpd/armed").stat().st_mode & 0o777 == 0o600


async def test_the_intent_is_there_while_the_kernel_is_called(lab: Lab) -> None:
    seen: list[set[str]] = []

    def succeed() -> None:
        seen.append(lab.records)
        lab.loaded("1")

    lab.expect_load(Answer(first=succeed))
    await lab.kexec.load(_wanted())
    assert seen == [{"loading"}]
    assert lab.records == {"armed"}


async def test_a_record_of_another_boot_is_void(lab: Lab) -> None:
    lab.expect_success()
    await lab.kexec.load(_wanted())
    lab.say("proc/sys/kernel/random/boot_id", "boot-2")
    assert lab.kexec.armed() is None


@pytest.mark.parametrize("text", ["", "{", '{"boot_id": "boot-1"}', "\udcff"])
def test_a_damaged_record_is_none(lab: Lab, text: str) -> None:
    (lab.root / "run/kdumpd").mkdir(parents=True)
    (lab.root / "run/kdumpd/armed").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert lab.kexec.armed() is None


async def test_a_busy_kernel_is_asked_again_with_patience(lab: Lab) -> None:
    for _ in range(3):
        lab.expect_load(BUSY)
    lab.expect_success()
    await lab.kexec.load(_wanted())
    assert lab.slept == [0.2, 0.5, 1.0]


def test_a_reservation_that_cannot_be_read_now_is_in_iomem(lab: Lab) -> None:
    (lab.root / f"{lab.crash}size").unlink()
    lab.say("proc/iomem", "00100000-7fffffff : System RAM\n  60000000-6fffffff : Crash kernel")
    assert lab.kexec.crash_kernel().reserved_bytes == 256 << 20


async def test_a_busy_kernel_that_does_not_tell_its_reservation_either_is_busy(lab: Lab) -> None:
    (lab.root / f"{lab.crash}size").unlink()  # reading it is EBUSY while another call runs
    for _ in range(6):
        lab.expect_load(BUSY)
    assert await _code(lab) == "kexec-busy"


async def test_a_kernel_that_stays_busy_is_told_and_the_old_record_stays_true(lab: Lab) -> None:
    lab.expect_success()
    before = await lab.kexec.load(_wanted())
    for _ in range(6):
        lab.expect_load(BUSY)
    assert await _code(lab) == "kexec-busy"
    assert lab.kexec.armed() == before
    assert lab.records == {"armed"}


async def test_a_failure_that_leaves_nothing_loaded_takes_the_record_with_it(lab: Lab) -> None:
    lab.expect_success()
    await lab.kexec.load(_wanted())
    lab.expect_load(
        Answer(status=255, stderr="kexec_file_load failed: Exec format error", first=lambda: lab.loaded("0"))
    )
    assert await _code(lab) == "kexec-image"
    assert lab.records == set()


async def test_success_that_the_kernel_denies_is_a_failure(lab: Lab) -> None:
    lab.expect_load(Answer())
    assert await _code(lab) == "kexec-failed"
    assert lab.records == set()


@pytest.mark.parametrize(
    ("facts", "answer", "code"),
    [
        ({}, MISSING, "kexec-missing"),
        ({"kexec_load_disabled": "1"}, "Operation not permitted", "load-disabled"),
        ({"kexec_load_limit_panic": "0"}, "Operation not permitted", "load-limit"),
        ({"size": "0"}, "Memory for crashkernel is not reserved", "no-reserved-memory"),
        ({"lockdown": "none [integrity] confidentiality"}, "Operation not permitted", "lockdown"),
        ({"lockdown": "none [integrity] confidentiality"}, "Key was rejected by service", "kexec-signature"),
        ({}, "Required key not available", "kexec-signature"),
        ({}, "No data available", "kexec-signature"),
        ({}, "Cannot allocate memory", "image-too-big"),
        ({}, "Cannot assign requested address", "image-too-big"),
        ({}, "Memory for crashkernel is not reserved", "reservation-hidden"),
        ({}, "No crash kernel segment found in /proc/iomem", "reservation-hidden"),
        ({}, "Could not find a free area of memory of 0x1000 bytes...", "image-too-big"),
        ({}, "Exec format error", "kexec-image"),
        ({}, "Invalid argument", "kexec-image"),
        ({}, Answer(status=253, stderr="syscall kexec_file_load not available.\n"), "kexec-image"),
        ({}, "Operation not permitted", "not-permitted"),
        ({}, "Permission denied", "not-permitted"),
        ({"lockdown": "[none] integrity confidentiality"}, "Operation not permitted", "not-permitted"),
        ({}, Answer(status=-9, reason="was killed by SIGKILL"), "kexec-failed"),
        ({}, "Input/output error", "kexec-failed"),
    ],
)
async def test_each_failure_has_a_name(
    lab: Lab, facts: dict[str, str], answer: Answer | str, code: str
) -> None:
    places = {"size": lab.crash + "size", "lockdown": "sys/kernel/security/lockdown"}
    for name, value in facts.items():
        lab.say(places.get(name, f"proc/sys/kernel/{name}"), value)
    if isinstance(answer, str):
        answer = Answer(status=255, stderr=f"kexec_file_load failed: {answer}")
    lab.expect_load(answer)
    assert await _code(lab) == code


async def test_cancelled_in_the_call_the_intent_stays(lab: Lab) -> None:
    def killed() -> None:
        lab.loaded("1")
        raise asyncio.CancelledError

    lab.expect_load(Answer(first=killed))
    with pytest.raises(asyncio.CancelledError):
        await lab.kexec.load(_wanted())
    left = lab.kexec.intent()
    assert left is not None
    assert left.load == "l"
    assert lab.kexec.armed() is None


class _Held(StandIns):
    """A kexec that takes as long as it is held, and then has loaded."""

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self._lab = lab
        self.has_begun = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def answer(self, asked: Asked) -> Output:
        self.has_begun.set()
        await self.goes_on.wait()
        self._lab.loaded("1")
        return Output(argv=asked.argv, status=0, stdout=b"", stderr=b"")


async def test_stopped_in_the_call_it_lets_the_call_come_to_its_end(lab: Lab) -> None:
    held = _Held(lab)
    kexec = Kexec(RealFiles(str(lab.root)), held)
    loading = asyncio.ensure_future(kexec.load(_wanted()))
    await held.has_begun.wait()
    loading.cancel()
    held.goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await loading
    armed = kexec.armed()
    assert armed is not None
    assert armed.load == "l"
    assert kexec.intent() is None


async def test_a_doubt_is_not_ended_by_a_later_load_that_changed_nothing(lab: Lab) -> None:
    def killed() -> None:
        raise asyncio.CancelledError

    lab.expect_success()
    await lab.kexec.load(_wanted("old"))
    lab.expect_load(Answer(first=killed))
    with pytest.raises(asyncio.CancelledError):
        await lab.kexec.load(_wanted("new"))
    lab.expect_load(MISSING)
    assert await _code(lab) == "kexec-missing"
    assert lab.kexec.intent() is not None
    lab.expect_success()
    await lab.kexec.load(_wanted("newer"))
    assert lab.kexec.intent() is None


async def test_unloading_uses_the_call_of_the_load_and_forgets(lab: Lab) -> None:
    lab.expect_success()
    await lab.kexec.load(_wanted())
    lab.programs.expect("kexec", "-p", "-u", "-s", answer=Answer(first=lambda: lab.loaded("0")))
    await lab.kexec.unload()
    assert lab.records == set()
    await lab.kexec.unload()  # nothing is loaded: nothing is called


async def test_an_unload_that_fails_leaves_the_record(lab: Lab) -> None:
    lab.expect_success()
    before = await lab.kexec.load(_wanted())
    lab.programs.expect("kexec", "-p", "-u", "-s", answer=Answer())
    with pytest.raises(Trouble, match="still loaded"):
        await lab.kexec.unload()
    assert lab.kexec.armed() == before


async def test_records_are_forgotten_only_when_nothing_is_loaded(lab: Lab) -> None:
    lab.expect_success()
    await lab.kexec.load(_wanted())
    lab.kexec.forget()
    assert lab.records == {"armed"}
    lab.loaded("0")
    lab.kexec.forget()
    assert lab.records == set()


@pytest.mark.parametrize("layout", ["old", "new"])
async def test_simulated_the_files_under_the_root_are_flipped(tmp_path: Path, layout: str) -> None:
    lab = Lab(tmp_path, layout=layout)
    kexec = Kexec(RealFiles(str(tmp_path)), SimulatedPrograms(str(tmp_path)))
    await kexec.load(_wanted())
    assert (tmp_path / lab.crash).parent.joinpath((tmp_path / lab.crash).name + "loaded").read_text() == "1\n"
    await kexec.unload()
    assert not kexec.crash_kernel().loaded


@pytest.mark.parametrize(
    ("path", "text", "code"),
    [
        ("proc/sys/kernel/kexec_load_disabled", "1", "load-disabled"),
        ("proc/sys/kernel/kexec_load_limit_panic", "0", "load-limit"),
        ("sys/kernel/kexec_crash_size", "0", "no-reserved-memory"),
        ("sys/kernel/kexec_crash_size", "5", "image-too-big"),
        ("store/initramfs.img", None, "kexec-failed"),
    ],
)
async def test_simulated_the_same_checks_are_made(lab: Lab, path: str, text: str | None, code: str) -> None:
    lab.kexec = Kexec(RealFiles(str(lab.root)), SimulatedPrograms(str(lab.root)))
    if text is None:
        (lab.root / path).unlink()
    else:
        lab.say(path, text)
    assert await _code(lab) == code


async def test_simulated_other_programs_are_real(tmp_path: Path) -> None:
    output = await SimulatedPrograms(str(tmp_path)).run(["echo", "yes"], timeout=10)
    assert output.stdout == b"yes\n"


async def test_simulated_nothing_is_mounted(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match="simulation"):
        await SimulatedPrograms(str(tmp_path)).run(("mount", "/dev/null", "/mnt"), timeout=5)
