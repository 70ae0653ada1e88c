"""Whether a finished image would do what was planned: unpacked as the kernel does it, and tried where it can be."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kdumpd import agent
from kdumpd.core import environment, newc, proofs
from kdumpd.core.layer import Placed, base_layer, follow, overlay_layer
from kdumpd.core.plan import BasePlan, Engine, Folder, FromHost, Link, ModuleFile, OverlayPlan, Plan, Written
from kdumpd.core.problems import Problem, Severity, Trouble, errors, warnings
from kdumpd.core.storing import is_out_of_space, storing_fault
from kdumpd.host.doors import Files, Output, ProgramFailed, Programs

TRY_SECONDS = 60.0  # for one program of the image that only shall start or look at a text
UNPACK_SECONDS = 600.0
PLAN_ENV = "plan.env"
CANNOT_CHROOT = frozenset({125, 126})  # chroot(1): it failed itself, or the program could not be executed
WHICH_ARE_BROKEN = (
    'for file; do if said=$(sh -n "$file" 2>&1); then printf "whole\\0"; else printf "broken\\0"; fi; done'
)
READ_BACK = '. "$1" && shift && for name; do eval "value=\\$$name"; printf "%s\\0" "$value"; done'


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a proved image came to."""

    unpacked_bytes: int
    warnings: tuple[Problem, ...] = ()


async def prove_base(image: str, plan: BasePlan, *, files: Files, programs: Programs, folder: str) -> Proof:
    """Prove the base in the file `image`; unpacked below `folder`, which is private and the caller's to remove.

    Raises Trouble with everything that does not hold: `image-damaged`, `image-differs`, `image-clash`,
    `module-damaged`, `module-incomplete`, `module-of-other-kernel`, `program-incomplete`.
    """
    tree = await _unpacked((image,), files=files, programs=programs, folder=folder)
    problems = list(tree.problems)
    problems += _differences(tree, base_layer(plan))
    modules = {
        item.content.name: tree.seen[item.path].words
        for item in base_layer(plan)
        if isinstance(item.content, ModuleFile) and item.path in tree.seen
    }
    problems += proofs.module_problems(modules, kernel_release=plan.kernel_release)
    tried: Mapping[str, _Seen] = tree.seen
    if plan.engine is Engine.DRACUT:
        problems += proofs.dracut_problems(frozenset(tree.seen), kernel_release=plan.kernel_release)
        own = {item.path for item in base_layer(plan)}
        tried = {
            path: seen for path, seen in tree.seen.items() if path in own or proofs.brings_devices_up(path)
        }
    problems += await _incomplete_programs(tree, tried, programs=programs)
    problems += await _missing_applets(tree, programs=programs)
    return _proof(tree, problems)


async def prove_image(
    layers: tuple[str, str],
    plan: Plan,
    *,
    reserved_bytes: int,
    files: Files,
    programs: Programs,
    folder: str,
) -> Proof:
    """Prove the overlay on its base, which was proved before; `layers` are the files of the two.

    Raises Trouble as `prove_base` does, and with `script-broken`, `plan-env-differs` and `image-too-big`.
    """
    tree = await _unpacked(layers, files=files, programs=programs, folder=folder, proved_before=1)
    laid = overlay_layer(plan.overlay, base=plan.base)
    own = {item.path: tree.seen[item.path] for item in laid if item.path in tree.seen}
    problems = list(tree.problems)
    problems += _differences(tree, laid)
    problems += await _incomplete_programs(tree, own, programs=programs)
    problems += await _broken_scripts(tree, own, programs=programs)
    problems += await _misread_plan(tree, plan.overlay, base=plan.base, programs=programs)
    problems += proofs.size_problems(
        unpacked=tree.unpacked_bytes,
        image=sum(files.stat(layer).size_bytes for layer in layers),
        kernel=files.stat(plan.load.kernel_image).size_bytes,
        working_set=plan.working_set_bytes,
        reserved=reserved_bytes,
    )
    return _proof(tree, problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """One entry of the image, with what its contents tell."""

    entry: newc.Entry
    digest: str = ""
    target: str = ""  # of a link
    interpreter: str = ""
    is_elf: bool = False
    is_script: bool = False
    words: proofs.ModuleWords | None = None


@dataclass(slots=True, kw_only=True)
class _Tree:
    """The unpacked image: `seen` by path without leading slash, `files` with the tree as root."""

    files: Files
    seen: dict[str, _Seen] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def outside(self) -> str:
        return self.files.outside("/")

    @property
    def unpacked_bytes(self) -> int:
        return proofs.unpacked_bytes(seen.entry.size_bytes for seen in self.seen.values())

    def at(self, path: str) -> _Seen | None:
        """What a program in the image finds at `path`."""
        links = {path: seen.target for path, seen in self.seen.items() if seen.entry.is_link}
        return self.seen.get(follow(path, links, last=True))

    def add(self, entry: newc.Entry, contents: bytes, look: Callable[[newc.Entry, bytes], _Seen]) -> None:
        before = self.seen.get(entry.path)
        parent = entry.path.rpartition("/")[0]
        within = self.seen.get(parent)
        if parent and (within is None or not within.entry.is_folder):
            self.problems.append(_clash(f"/{entry.path} lies in /{parent}, which is no folder of the image"))
            return
        if before is not None and before.entry.is_folder != entry.is_folder:
            self.problems.append(
                _clash(f"/{entry.path} of the overlay would take the place of another thing")
            )
            return
        path = f"/{entry.path}"
        if entry.is_folder:
            self.files.make_folder(path, mode=0o700)
        else:
            self.files.remove(path)
        if entry.is_link:
            self.files.make_link(path, contents.decode("utf-8", "surrogateescape"))
        if entry.is_regular:
            with self.files.create(path, mode=entry.mode & 0o777) as file:
                file.write(contents)
        self.seen[entry.path] = look(entry, contents)


def _look_outside(entry: newc.Entry, contents: bytes) -> _Seen:
    """Its kind and, for a link, where it leads: all that another layer's programs ask of what is beneath."""
    if entry.is_link:
        return _Seen(entry=entry, target=contents.decode("utf-8", "surrogateescape"))
    return _Seen(entry=entry, is_elf=contents.startswith(proofs.ELF))


def _look(entry: newc.Entry, contents: bytes) -> _Seen:
    if entry.is_link:
        return _Seen(entry=entry, target=contents.decode("utf-8", "surrogateescape"))
    if not entry.is_regular:
        return _Seen(entry=entry)
    return _Seen(
        entry=entry,
        digest=_digest(contents),
        interpreter=proofs.interpreter(contents),
        is_elf=contents.startswith(proofs.ELF),
        is_script=proofs.SHELL_SCRIPT.match(contents) is not None or entry.path.endswith(".sh"),
        words=proofs.module_words(contents),
    )


async def _unpacked(
    images: Sequence[str], *, files: Files, programs: Programs, folder: str, proved_before: int = 0
) -> _Tree:
    """The images over each other; into the contents of the first `proved_before` nobody looks again."""
    root = f"{folder}/tree"
    try:
        files.make_folder(root)
        tree = _Tree(files=files.below(root))
        for number, image in enumerate(images):
            archive = f"{folder}/{number}.cpio"
            await _unzstd(programs, files.outside(image), files.outside(archive), folder=folder)
            look = _look_outside if number < proved_before else _look
            await asyncio.to_thread(_unpack, tree, files, archive, look)
            files.remove(archive)
    except OSError as fault:
        raise Trouble(storing_fault(fault, folder)) from fault
    return tree


async def _unzstd(programs: Programs, image: str, archive: str, *, folder: str) -> None:
    try:
        await programs.run(("zstd", "-q", "-d", "-f", "-o", archive, image), timeout=UNPACK_SECONDS)
    except ProgramFailed as fault:
        if is_out_of_space(fault.output.stderr.decode("utf-8", "replace")):
            problem = Problem(code="no-space", message=f"there is no room to prove the image in {folder}")
        else:
            problem = Problem(
                code="image-damaged", message=f"the image cannot be unpacked: zstd {fault.reason}"
            )
        raise Trouble(problem) from fault


def _unpack(tree: _Tree, files: Files, archive: str, look: Callable[[newc.Entry, bytes], _Seen]) -> None:
    with files.open(archive) as source:
        try:
            for entry, contents in newc.read(source):
                tree.add(entry, contents, look)
        except newc.Damaged as fault:
            raise Trouble(
                Problem(code="image-damaged", message=f"the image cannot be unpacked: {fault}")
            ) from fault


def _differences(tree: _Tree, layer: Iterable[Placed]) -> list[Problem]:
    """Where the image is not what the plan says, entry by entry."""
    return [
        Problem(code="image-differs", message=f"/{item.path} in the image is not what was planned")
        for item in layer
        if not _is_as_planned(tree.seen.get(item.path), item)
    ]


def _is_as_planned(seen: _Seen | None, item: Placed) -> bool:
    if seen is None:
        return False
    content = item.content
    match content:
        case Folder(mode=mode):
            return seen.entry.mode == newc.FOLDER | mode
        case Link(target=target):
            return seen.entry.is_link and seen.target == target
        case Written(text=text, mode=mode):
            planned = _digest(text.encode("utf-8", "surrogateescape"))
            return seen.entry.mode == newc.REGULAR | mode and seen.digest == planned
        case FromHost(digest=digest, mode=mode):
            return seen.entry.mode == newc.REGULAR | mode and seen.digest == digest
        case ModuleFile():
            return seen.entry.is_regular


async def _incomplete_programs(
    tree: _Tree, among: Mapping[str, _Seen], *, programs: Programs
) -> list[Problem]:
    """Programs whose loader does not find all that they need, as the loader of the image itself says."""
    problems: list[Problem] = []
    for path, seen in among.items():
        if not seen.interpreter or not seen.entry.mode & 0o111:
            continue
        loader = tree.at(seen.interpreter)
        if loader is None or not loader.entry.mode & 0o111:
            problems.append(_incomplete(path, seen.interpreter))
            continue
        said = await _try(tree, (seen.interpreter, "--list", f"/{path}"), programs=programs)
        if said.status in CANNOT_CHROOT:
            return [*problems, _untried(said)]
        text = said.stdout.decode("utf-8", "replace")
        missing = proofs.missing_libraries(text)
        problems.extend(_incomplete(path, library) for library in missing)
        if said.status != 0 and not missing:
            problems.append(_incomplete(path, said.stderr.decode("utf-8", "replace").strip()))
    return problems


async def _missing_applets(tree: _Tree, *, programs: Programs) -> list[Problem]:
    """Links to a busybox that was built without what the agent calls by them."""
    links = {path: seen.target for path, seen in tree.seen.items() if seen.entry.is_link}
    wanted = {
        path.rpartition("/")[2]: busybox
        for path in links
        if path.rpartition("/")[2] in agent.PROGRAMS
        and (busybox := follow(path, links, last=True)).rpartition("/")[2] == "busybox"
    }
    problems: list[Problem] = []
    for busybox in sorted(set(wanted.values())):
        said = await _try(tree, (f"/{busybox}", "--list"), programs=programs)
        applets = said.stdout.decode("utf-8", "replace").split()
        if said.status != 0 or not applets:
            continue  # it cannot be tried here, which _incomplete_programs has told
        problems.extend(
            _incomplete(path=f"{busybox} {name}", needed="this applet")
            for name in sorted(wanted)
            if wanted[name] == busybox and name not in applets
        )
    return problems


async def _broken_scripts(tree: _Tree, among: Mapping[str, _Seen], *, programs: Programs) -> list[Problem]:
    """Scripts that the image's own shell cannot read; one shell asks for all, for a program's start is what costs."""
    scripts = [f"/{path}" for path, seen in among.items() if seen.is_script]
    if not scripts:
        return []
    asked = await _sh(tree, "-c", WHICH_ARE_BROKEN, "sh", *scripts, programs=programs)
    broken = asked.stdout.decode("utf-8", "surrogateescape").split("\0")
    problems: list[Problem] = []
    for path, word in zip(scripts, broken, strict=False):
        if word == "whole":
            continue
        said = (await _sh(tree, "-n", path, programs=programs)).stderr.decode("utf-8", "replace").strip()
        problems.append(Problem(code="script-broken", message=f"sh cannot read {path} of the image: {said}"))
    if asked.status != 0 or len(broken) != len(scripts) + 1:
        last = asked.stderr.decode("utf-8", "replace").strip()
        problems.append(Problem(code="script-broken", message=f"sh could not try the scripts: {last}"))
    return problems


async def _misread_plan(
    tree: _Tree, plan: OverlayPlan, *, base: BasePlan, programs: Programs
) -> list[Problem]:
    """Whether sh reads plan.env as exactly what was planned, whatever characters there are in it."""
    problems: list[Problem] = []
    for item in overlay_layer(plan, base=base):
        if not isinstance(item.content, Written) or item.path.rpartition("/")[2] != PLAN_ENV:
            continue
        planned = environment.parse(item.content.text)
        said = await _sh(tree, "-c", READ_BACK, "sh", f"/{item.path}", *planned, programs=programs)
        values = said.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]
        evaluated = dict(zip(planned, values, strict=False))
        problems += proofs.environment_problems(planned=planned, evaluated=evaluated)
    return problems


async def _sh(tree: _Tree, *arguments: str, programs: Programs) -> Output:
    """Run the image's own shell; the shell of this machine where it has none that can be run here."""
    shell = tree.at("/bin/sh")
    if shell is not None and shell.is_elf:
        said = await _try(tree, ("/bin/sh", *arguments), programs=programs)
        if said.status not in CANNOT_CHROOT:
            return said
    here = [tree.outside + word if word.startswith("/") else word for word in arguments]
    return await _run(("sh", *here), programs=programs)


async def _try(tree: _Tree, argv: tuple[str, ...], *, programs: Programs) -> Output:
    return await _run(("chroot", tree.outside, *argv), programs=programs)


async def _run(argv: tuple[str, ...], *, programs: Programs) -> Output:
    """Whatever status it ends with: that is the answer."""
    try:
        return await programs.run(argv, timeout=TRY_SECONDS, good=frozenset(range(256)))
    except ProgramFailed as fault:
        return fault.output


def _proof(tree: _Tree, problems: Sequence[Problem]) -> Proof:
    if errors(problems):
        raise Trouble(*problems)
    return Proof(unpacked_bytes=tree.unpacked_bytes, warnings=warnings(problems))


def _clash(message: str) -> Problem:
    return Problem(code="image-clash", message=message)


def _incomplete(path: str, needed: str) -> Problem:
    return Problem(code="program-incomplete", message=f"/{path} cannot run in the image: {needed} is missing")


def _untried(said: Output) -> Problem:
    last = said.stderr.decode("utf-8", "replace").strip()
    return Problem(
        code="programs-untried",
        message=f"the programs of the image could not be tried: {last}",
        hint="the store may be on a file system that is mounted noexec",
        severity=Severity.WARNING,
    )


def _digest(contents: bytes) -> str:
    return hashlib.blake2b(contents, digest_size=16).hexdigest()
