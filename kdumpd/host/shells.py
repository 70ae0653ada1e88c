"""What the image's own shell makes of the texts in it: whether it can read them, and what plan.env tells it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kdumpd.core import environment, proofs
from kdumpd.core.layer import Placed
from kdumpd.core.plan import BasePlan, FromHost, Written
from kdumpd.core.problems import Problem
from kdumpd.core.tree import Tree
from kdumpd.host.doors import Files, Output, ProgramFailed, Programs
from kdumpd.host.unpacked import Unpacked

TRY_SECONDS = 60.0
ANY = frozenset(range(256))  # whatever status it ends with: that is the answer
CANNOT_START = frozenset({125, 126, 127})  # chroot(1) failed; it could not be executed; it is not there
PLAN_ENV = "plan.env"
BROKEN = "broken "
WHICH_ARE_BROKEN = (
    "sh=$1 applet=$2; shift 2; "
    'for file; do if said=$("$sh" $applet -n "$file" 2>&1); then printf "whole\\0"; '
    'else printf "broken %s\\0" "$said"; fi; done'
)
READ_BACK = '. "$1" && shift && for name; do eval "value=\\$$name"; printf "%s\\0" "$value"; done'


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """A shell, and how it is run here."""

    argv: tuple[str, ...]
    itself: tuple[str, str]  # how it runs itself: its path, and the applet's name where it has many
    root: str  # where what lies in `folder` is, in its own eyes
    files: Files
    folder: str
    digest: str = ""  # "" where it is not known byte for byte

    def place(self, path: str, text: bytes) -> str:
        """Lay a text where the shell finds it; the path by which it does."""
        at = f"{self.folder}/{path}"
        if not self.files.exists(at):
            self.files.make_folder(at.rpartition("/")[0] or "/", lasts=False)
            with self.files.create(at) as file:
                file.write(text)
        return f"{self.root}/{path}"


def shells_beside(tree: Tree, base: BasePlan, *, files: Files, folder: str) -> tuple[Shell, ...]:
    """The image's own shell without the image: the file of this machine that is the same to the byte.

    No shell where there is no such file; the shell of this machine where the image has none that can be run here.
    """
    texts = f"{folder}/texts"
    here = Shell(argv=("sh",), itself=("sh", ""), root=files.outside(texts), files=files, folder=texts)
    shell = tree.at("/bin/sh")
    if shell is None or not shell.is_elf:
        return (here,)
    item = _shell_of(tree, base)
    try:
        if item is None or files.digest(item.source) != item.digest:
            return ()
    except OSError:
        return ()
    program = files.outside(item.source)
    applet = "sh" if item.path.rpartition("/")[2].startswith("busybox") else ""
    argv = (program, *([applet] if applet else []))
    return (replace(here, argv=argv, itself=(program, applet), digest=item.digest), here)


def shells_of(ground: Unpacked, base: BasePlan) -> tuple[Shell, ...]:
    """The image's own shell under chroot; the shell of this machine where it has none that can be run here."""
    here = Shell(argv=("sh",), itself=("sh", ""), root=ground.outside, files=ground.files, folder="")
    shell = ground.tree.at("/bin/sh")
    if shell is None or not shell.is_elf:
        return (here,)
    item = _shell_of(ground.tree, base)
    argv = ("chroot", ground.outside, "/bin/sh")
    digest = item.digest if item is not None else ""
    return (replace(here, argv=argv, itself=("/bin/sh", ""), root="", digest=digest), here)


def _shell_of(tree: Tree, base: BasePlan) -> FromHost | None:
    """The planned file that /bin/sh of the image leads to."""
    place = tree.place("/bin/sh")
    name = place.rpartition("/")[2]
    alike = (each for each in base.items if isinstance(each, FromHost) and each.path.endswith(f"/{name}"))
    return next((item for item in alike if tree.place(item.path) == place), None)


async def _ask(
    shells: Sequence[Shell],
    script: str,
    texts: Mapping[str, bytes],
    words: Collection[str] = (),
    *,
    programs: Programs,
    names_itself: bool = False,
) -> tuple[Output, str]:
    """What the first shell that runs here says of the texts, and its root."""
    first, *others = shells
    places = [first.place(path, text) for path, text in texts.items()]
    itself = first.itself if names_itself else ()
    said = await _run((*first.argv, "-c", script, "sh", *itself, *places, *words), programs=programs)
    if said.status in CANNOT_START and others:
        return await _ask(others, script, texts, words, programs=programs, names_itself=names_itself)
    return said, first.root


async def broken_scripts(
    shells: Sequence[Shell], scripts: Mapping[str, bytes], *, programs: Programs
) -> list[Problem]:
    """Scripts that the image's own shell cannot read; one shell asks for all, for a program's start is what costs."""
    if not scripts:
        return []
    asked, root = await _ask(shells, WHICH_ARE_BROKEN, scripts, programs=programs, names_itself=True)
    told = asked.stdout.decode("utf-8", "replace").split("\0")
    problems = [
        Problem(
            code="script-broken",
            message=f"sh cannot read /{path} of the image: {word.removeprefix(BROKEN).replace(root, '')}",
        )
        for path, word in zip(scripts, told, strict=False)
        if word.startswith(BROKEN)
    ]
    if asked.status != 0 or len(told) != len(scripts) + 1:
        last = asked.stderr.decode("utf-8", "replace").strip()
        problems.append(Problem(code="script-broken", message=f"sh could not try the scripts: {last}"))
    return problems


async def misread_plan(
    shells: Sequence[Shell], laid: Iterable[Placed], texts: Mapping[str, bytes], *, programs: Programs
) -> list[Problem]:
    """Whether sh reads plan.env as exactly what was planned, whatever characters there are in it."""
    problems: list[Problem] = []
    for item in laid:
        if not isinstance(item.content, Written) or item.path.rpartition("/")[2] != PLAN_ENV:
            continue
        planned = environment.parse(item.content.text)
        text = {item.path: texts.get(item.path, b"")}
        said, _ = await _ask(shells, READ_BACK, text, planned, programs=programs)
        values = said.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]
        evaluated = dict(zip(planned, values, strict=False))
        problems += proofs.environment_problems(planned=planned, evaluated=evaluated)
    return problems


async def _run(argv: tuple[str, ...], *, programs: Programs) -> Output:
    try:
        return await programs.run(argv, timeout=TRY_SECONDS, good=ANY)
    except ProgramFailed as fault:
        return fault.output
