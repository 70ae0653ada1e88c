"""Whether a finished image would do what was planned: unpacked as the kernel does it, and tried where it can be."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kdumpd import agent
from kdumpd.core import estimate, proofs
from kdumpd.core.estimate import Capture
from kdumpd.core.layer import Placed, base_layer, overlay_layer
from kdumpd.core.plan import BasePlan, Engine, ModuleFile, Plan, fingerprint
from kdumpd.core.problems import Problem, Severity, Trouble, errors, warnings
from kdumpd.core.storing import storing_fault
from kdumpd.core.tree import Seen, Tree, look_inside, look_outside, record, recorded
from kdumpd.host.doors import Files, Output, ProgramFailed, Programs
from kdumpd.host.shells import PLAN_ENV, Shell, broken_scripts, misread_plan, shells_beside, shells_of
from kdumpd.host.unpacked import Unpacked, entries, lay, unpacked

TRY_SECONDS = 60.0  # for programs of the image that only shall start or look at a text
REMEMBERED_AT_MOST = 1000
CANNOT_CHROOT = frozenset({125, 126})  # chroot(1): it failed itself, or the program could not be executed
NO_PROGRAMS: tuple[str, ...] = ()
ANSWER_BYTES = 8 << 20  # of a hundred loaders
WHAT_LOADERS_SAY = (
    'while [ $# -gt 1 ]; do said=$("$1" --list "$2" 2>&1); printf "%s\\0%s\\0" "$?" "$said"; shift 2; done'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a proved image came to."""

    unpacked_bytes: int
    record: bytes = b""
    """Of a base: what an overlay on it has to know, so that it is proved without the base (core.tree)."""
    warnings: tuple[Problem, ...] = ()


class Proved:
    """What held when it was tried, by the digests of all that it hangs on: it need not be tried again."""

    def __init__(self) -> None:
        self._known: set[tuple[str, ...]] = {NO_PROGRAMS}

    def __contains__(self, key: tuple[str, ...]) -> bool:
        return key in self._known

    def add(self, *keys: tuple[str, ...]) -> None:
        if len(self._known) > REMEMBERED_AT_MOST:
            self._known = {NO_PROGRAMS}
        self._known.update(keys)


async def prove_base(image: str, plan: BasePlan, *, files: Files, programs: Programs, folder: str) -> Proof:
    """Prove the base in the file `image`; unpacked below `folder`, which is private and the caller's to remove.

    Raises Trouble with everything that does not hold: `image-damaged`, `image-differs`, `image-clash`,
    `module-damaged`, `module-incomplete`, `module-of-other-kernel`, `program-incomplete`.
    """
    ground = await unpacked(image, look_inside, files=files, programs=programs, folder=folder)
    seen = ground.tree.seen
    layer = base_layer(plan)
    problems = [*ground.tree.problems, *ground.tree.differences(layer)]
    modules = {
        item.content.name: seen[item.path].words
        for item in layer
        if isinstance(item.content, ModuleFile) and item.path in seen
    }
    problems += proofs.module_problems(modules, kernel_release=plan.kernel_release)
    tried: Mapping[str, Seen] = seen
    if plan.engine is Engine.DRACUT:
        problems += proofs.dracut_problems(frozenset(seen), kernel_release=plan.kernel_release)
        own = {item.path for item in layer}
        tried = {path: each for path, each in seen.items() if path in own or proofs.brings_devices_up(path)}
    problems += await _incomplete_programs(ground, _dynamic(tried), programs=programs)
    problems += await _missing_applets(ground, programs=programs)
    return _proof(ground.tree, problems, record=record(ground.tree))


async def prove_image(
    layers: tuple[str, str],
    plan: Plan,
    *,
    beneath: bytes | None,
    proved: Proved,
    reserved_bytes: int,
    captures: Sequence[Capture] = (),
    files: Files,
    programs: Programs,
    folder: str,
) -> Proof:
    """Prove the overlay on its base, which was proved before; `layers` are the files of the two.

    `beneath` is what the base's proof recorded: with it the base is unpacked only where a program of the overlay has
    to be tried that was not tried on it before. Whoever joins the two makes sure that the base is still that one.
    Raises Trouble as `prove_base` does, and with `script-broken`, `plan-env-differs` and `image-too-big`.
    """
    with _storing_in(folder):
        laid = overlay_layer(plan.overlay, base=plan.base)
        tree = recorded(beneath) if beneath is not None else None
        contents = await asyncio.to_thread(entries, files, layers[1])
        shells: tuple[Shell, ...] = ()
        if tree is not None:
            lay(tree, contents)
            if _programs_key(tree, laid, plan) in proved:
                shells = shells_beside(tree, plan.base, files=files, folder=folder)
        ground: Unpacked | None = None
        if tree is None or not shells:
            ground = await unpacked(layers[0], look_outside, files=files, programs=programs, folder=folder)
            tree = ground.tree
            lay(tree, contents, onto=ground)
            shells = shells_of(ground, plan.base)
        own = {item.path: tree.seen[item.path] for item in laid if item.path in tree.seen}
        problems = [*tree.problems, *tree.differences(laid)]
        if ground is not None:
            problems += await _incomplete_programs(ground, _dynamic(own), programs=programs)
        texts = {entry.path: data for entry, data in contents}
        new = {
            path: (shells[0].digest, seen.digest)
            for path, seen in own.items()
            if seen.is_script and (shells[0].digest, seen.digest) not in proved
        }
        problems += await broken_scripts(shells, {path: texts[path] for path in new}, programs=programs)
        problems += await misread_plan(shells, laid, texts, programs=programs)
        sizes = estimate.sizes_of(
            plan, unpacked=tree.unpacked_bytes, image=sum(files.stat(layer).size_bytes for layer in layers)
        )
        problems += estimate.size_problems(
            sizes, reserved=reserved_bytes, kind=plan.memory_kind, captures=captures
        )
        proof = _proof(tree, problems)
        proved.add(_programs_key(tree, laid, plan), *(key for key in new.values() if shells[0].digest))
        return proof


@contextlib.contextmanager
def _storing_in(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise Trouble(storing_fault(fault, folder)) from fault


def _programs_key(tree: Tree, laid: Sequence[Placed], plan: Plan) -> tuple[str, ...]:
    """All that the programs of an overlay hang on; () where it has none that a loader has to bring together.

    A loader may come across the base, and the overlay but for what the agent alone reads.
    """
    own = {item.path: tree.seen[item.path] for item in laid if item.path in tree.seen}
    if not _dynamic(own):
        return NO_PROGRAMS
    others = [item for item in laid if item.path.rpartition("/")[2] != PLAN_ENV]
    return ("programs", plan.base_fingerprint, fingerprint(others))


def _dynamic(among: Mapping[str, Seen]) -> Mapping[str, Seen]:
    """The programs that a loader has to bring together."""
    return {path: seen for path, seen in among.items() if seen.interpreter and seen.entry.mode & 0o111}


async def _incomplete_programs(
    ground: Unpacked, among: Mapping[str, Seen], *, programs: Programs
) -> list[Problem]:
    """Programs whose loader does not find all that they need, as the loader of the image itself says."""
    problems: list[Problem] = []
    loaders: dict[str, str] = {}
    found = {each: ground.tree.at(each) for each in {seen.interpreter for seen in among.values()}}
    for path, seen in among.items():
        loader = found[seen.interpreter]
        if loader is None or not loader.entry.mode & 0o111:
            problems.append(_incomplete(path, seen.interpreter))
        else:
            loaders[path] = seen.interpreter
    said = await _all_at_once(ground, loaders, programs=programs)
    for path, asked in loaders.items():
        if path not in said:
            alone = await _try(ground, (asked, "--list", f"/{path}"), programs=programs)
            if alone.status in CANNOT_CHROOT:
                return [*problems, _untried(alone)]
            said[path] = alone.status, (alone.stdout + alone.stderr).decode("utf-8", "replace")
        status, text = said[path]
        missing = proofs.missing_libraries(text)
        problems.extend(_incomplete(path, library) for library in missing)
        if status != 0 and not missing:
            problems.append(_incomplete(path, text.strip()))
    return problems


async def _all_at_once(
    ground: Unpacked, loaders: Mapping[str, str], *, programs: Programs
) -> dict[str, tuple[int, str]]:
    """Status and words of each loader, from one run of the image's shell: starting a hundred programs is what costs.

    Empty where that shell is the very program that cannot run.
    """
    words = [word for path, loader in loaders.items() for word in (loader, f"/{path}")]
    shell = ground.tree.at("/bin/sh")
    if len(loaders) < 2 or shell is None or not shell.is_elf:
        return {}
    argv = ("/bin/sh", "-c", WHAT_LOADERS_SAY, "sh", *words)
    output = await _try(ground, argv, programs=programs)
    told = output.stdout.decode("utf-8", "replace").split("\0")
    if output.status != 0 or len(told) != len(words) + 1:
        return {}
    pairs = zip(told[::2], told[1::2], strict=False)
    return {path: (int(status), text) for path, (status, text) in zip(loaders, pairs, strict=True)}


async def _missing_applets(ground: Unpacked, *, programs: Programs) -> list[Problem]:
    """Links to a busybox that was built without what the agent calls by them."""
    tree = ground.tree
    wanted = {
        name: busybox
        for path in tree.links
        if (name := path.rpartition("/")[2]) in agent.PROGRAMS
        and (busybox := tree.place(path)).rpartition("/")[2] == "busybox"
    }
    problems: list[Problem] = []
    for busybox in sorted(set(wanted.values())):
        said = await _try(ground, (f"/{busybox}", "--list"), programs=programs)
        applets = said.stdout.decode("utf-8", "replace").split()
        if said.status != 0 or not applets:
            continue  # it cannot be tried here, which _incomplete_programs has told
        problems.extend(
            _incomplete(path=f"{busybox} {name}", needed="this applet")
            for name in sorted(wanted)
            if wanted[name] == busybox and name not in applets
        )
    return problems


async def _try(ground: Unpacked, argv: tuple[str, ...], *, programs: Programs) -> Output:
    return await _run(("chroot", ground.outside, *argv), programs=programs)


async def _run(argv: tuple[str, ...], *, programs: Programs) -> Output:
    """Whatever status it ends with: that is the answer."""
    try:
        return await programs.run(
            argv, timeout=TRY_SECONDS, good=frozenset(range(256)), keep_bytes=ANSWER_BYTES
        )
    except ProgramFailed as fault:
        return fault.output


def _proof(tree: Tree, problems: Sequence[Problem], *, record: bytes = b"") -> Proof:
    if errors(problems):
        raise Trouble(*problems)
    return Proof(unpacked_bytes=tree.unpacked_bytes, record=record, warnings=warnings(problems))


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
