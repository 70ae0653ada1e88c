"""Engine dracut: has dracut gather what it takes to bring the target's devices up, as an archive to lay the plan over."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from kdumpd.core.plan import BasePlan
from kdumpd.core.problems import Problem, Trouble
from kdumpd.core.storing import is_out_of_space, storing_fault
from kdumpd.host.doors import Files, ProgramFailed, Programs

DRACUT_SECONDS = 1800.0  # the slowest machine; build_timeout_seconds is what the administrator has a word in
LINES_KEPT = 5


async def gather(
    plan: BasePlan,
    *,
    files: Files,
    programs: Programs,
    target: str,
    on_stage: Callable[[str], None],
) -> str:
    """The path of the archive that dracut made, beside `target`: nothing outside of that folder is written.

    dracut's own configuration of the administrator (/etc/dracut.conf, /etc/dracut.conf.d) is not read: it is about the
    initramfs that boots the machine; dracut_args is about this one. The distribution's is.

    Raises Trouble: `dracut-failed`, `no-space`, `store-unwritable`, `store-failing`.
    """
    work = f"{target}.dracut"
    archive = f"{work}/initramfs.cpio"
    last: deque[str] = deque(maxlen=LINES_KEPT)
    try:
        for folder in (work, f"{work}/conf.d", f"{work}/temporary"):
            files.make_folder(folder)
        files.write(f"{work}/dracut.conf", b"")
        on_stage("dracut")
        await programs.run(
            (
                *("dracut", "--force", "--no-compress", "--no-early-microcode", "--nohardlink"),
                *(
                    "--conf",
                    files.outside(f"{work}/dracut.conf"),
                    "--confdir",
                    files.outside(f"{work}/conf.d"),
                ),
                *("--tmpdir", files.outside(f"{work}/temporary")),
                *plan.dracut_args,
                files.outside(archive),
                plan.kernel_release,
            ),
            timeout=DRACUT_SECONDS,
            on_line=last.append,
            gentle=True,
        )
        if not files.exists(archive):
            raise _failed("made no image", tuple(last))
    except ProgramFailed as fault:
        said = fault.output.stderr.decode("utf-8", "replace")
        if is_out_of_space(said):
            message = f"there is no room for the image in {target.rpartition('/')[0]}"
            hint = "make room there; kdumpd tries again by itself"
            raise Trouble(Problem(code="no-space", message=message, hint=hint)) from fault
        raise _failed(fault.reason, tuple(last)) from fault
    except OSError as fault:
        raise Trouble(storing_fault(fault, target.rpartition("/")[0])) from fault
    return archive


def _failed(reason: str, last: tuple[str, ...]) -> Trouble:
    hint = " / ".join(last) or "it said nothing"
    return Trouble(Problem(code="dracut-failed", message=f"dracut {reason}", hint=hint))
