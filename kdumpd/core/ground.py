"""What a plan stands on: the target and the root file system with their layers, and the modules they take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from kdumpd.core import capture_kernel, fence, locate, locate_path
from kdumpd.core.config import Config, FailureAction
from kdumpd.core.contents import merged
from kdumpd.core.environment import Module
from kdumpd.core.fence import NO_NODES, Nodes
from kdumpd.core.inventory import Inventory
from kdumpd.core.located import KDUMP_CONF, Line, Located
from kdumpd.core.machine import Machine
from kdumpd.core.modules import ModuleIndex, normalised
from kdumpd.core.needs import Needs, together
from kdumpd.core.network import Way
from kdumpd.core.plan import ModuleFile
from kdumpd.core.problems import Problem, Severity
from kdumpd.core.storage import modaliases
from kdumpd.core.sysconfig import Sysconfig
from kdumpd.core.tuning import Tuning


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """All that is known before the image is put together."""

    config: Config
    sysconfig: Sysconfig
    tuning: Tuning
    machine: Machine
    modules: ModuleIndex
    target: Located
    root: Located | None
    extra_modules: tuple[str, ...] = ()
    fence: Nodes = NO_NODES

    @property
    def needs(self) -> Needs:
        located = [self.target, *([self.root] if self.root else [])]
        return together(
            [
                *(one.needs for one in located),
                *(_looking_for(one) for one in located),
                *(way.needs for way in self.fence.ways),
            ]
        )

    @property
    def ways(self) -> tuple[Way, ...]:
        """All that the network is brought up for, the target first."""
        return (*self.target.ways, *(self.root.ways if self.root else ()), *self.fence.ways)

    @property
    def network(self) -> tuple[str, ...]:
        """The lines that bring it up, each once."""
        return tuple(dict.fromkeys(line for way in self.ways for line in way.lines))

    @property
    def wanted_modules(self) -> tuple[str, ...]:
        return (*self.storage_modules, *self.extra_modules)

    @property
    def storage_modules(self) -> tuple[str, ...]:
        """Drivers first, then file systems; a kernel other than the running one is asked by modalias as well."""
        located = [self.target, *([self.root] if self.root else [])]
        others: tuple[str, ...] = ()
        if capture_kernel.is_another(self.sysconfig, self.machine):
            others = tuple(
                module
                for one in located
                for alias in modaliases(one.stack)
                for module in self.modules.serving(alias)
            )
            others += tuple(
                module
                for way in self.ways
                for alias in way.modaliases
                for module in self.modules.serving(alias)
            )
        filesystems = tuple(_filesystem_module(self.modules, one.fstype) for one in located if one.fstype)
        return tuple(dict.fromkeys((*self.needs.modules, *others, *filesystems)))


def on(
    config: Config,
    sysconfig: Sysconfig,
    tuning: Tuning,
    machine: Machine,
    modules: ModuleIndex,
    target: Located | None,
) -> Ground | None:
    if target is None:
        return None
    root = locate.root(machine).located
    if root is not None and root.beyond_direct and root.device != target.device:
        root = None  # no engine is chosen for its sake
    # For the record of a failed capture a few modules are not too much; programs with their libraries are.
    is_cheap = root is not None and set(root.stack.needs.programs) <= set(target.stack.needs.programs)
    wanted = config.failure_action is FailureAction.DUMP_TO_ROOTFS or is_cheap
    return Ground(
        config=config,
        sysconfig=sysconfig,
        tuning=tuning,
        machine=machine,
        modules=modules,
        target=target,
        root=root if wanted else None,
        extra_modules=tuple(name for name in config.extra_modules if modules.named(name)),
        fence=fence.nodes(config, machine),
    )


def image_modules(ground: Ground) -> tuple[str, ...]:
    """All that may be loaded, blacklisted or not: an edit of the blacklist must not build the base again."""
    return ground.modules.closure(ground.wanted_modules).load


def to_load(ground: Ground) -> tuple[Module, ...]:
    """The modules that the agent loads, in order, each with the options of kdump.conf or else of modprobe.d."""
    config, index = ground.config, ground.modules
    options = {**index.options, **{normalised(name): text for name, text in config.module_options}}
    order = index.closure(ground.wanted_modules, blacklist=config.blacklist).load
    return tuple(Module(path=_inside(index.path(name)), options=options.get(name, "")) for name in order)


def module_file(ground: Ground, name: str, inventory: Inventory) -> ModuleFile:
    source = ground.modules.path(name)
    return ModuleFile(name=name, source=source, digest=inventory.facts(source).digest, path=_inside(source))


def module_problems(ground: Ground) -> Iterable[Problem]:
    config, modules = ground.config, ground.modules
    of = capture_kernel.release(ground.sysconfig, ground.machine)
    whole = modules.closure(ground.storage_modules)
    served = {"ext2": "ext4", "ext3": "ext4"}
    for name in whole.unknown:
        if served.get(name, name) not in modules.builtin:
            yield Problem(
                code="module-missing",
                message=f"kernel {of} has no module {name}, which the target needs",
                hint="install the rest of the kernel's package, or capture with the running kernel",
            )
    for name in modules.closure(ground.storage_modules, blacklist=config.blacklist).missed:
        problem = Problem(
            code="blacklist-hides-target",
            message=f"the target needs the module {name}, which blacklist keeps from being loaded",
            hint="remove it from blacklist",
        )
        yield at_line(config, "blacklist", problem)
    for name in config.extra_modules:
        if not modules.is_known(name):
            problem = Problem(
                code="unknown-module",
                message=f"kernel {of} has no module {name}",
                hint="it is left out; see modinfo for the name",
                severity=Severity.WARNING,
            )
            yield at_line(config, "extra_modules", problem)
    for name, text in config.module_options:
        problem_of_options = _idle_options(modules, name, text, of=of)
        if problem_of_options is not None:
            line = config.module_option_lines.get(name, 0)
            yield replace(problem_of_options, file=KDUMP_CONF, line=line, key="options")


def root_problems(ground: Ground) -> Iterable[Problem]:
    """Why failure_action dump_to_rootfs could not do what it says."""
    if ground.config.failure_action is not FailureAction.DUMP_TO_ROOTFS:
        return
    key = next(
        (name for name in ("failure_action", "default") if name in ground.config.lines), "failure_action"
    )
    if ground.root is not None:
        line = Line(number=ground.config.lines.get(key, 0), key=key)
        yield from locate_path.doubts(ground.machine, locate.ROOTFS_DIRECTORY, "/", line)
        return
    search = locate.root(ground.machine)
    for problem in (*search.problems, *(search.located.beyond_direct if search.located else ())):
        why = problem.message.replace("the target", "the root file system", 1)
        told = Problem(
            code="rootfs-out-of-reach",
            message=f"dump_to_rootfs could not save anything: {why}",
            hint="write another failure_action",
            severity=Severity.WARNING,
        )
        yield at_line(ground.config, key, told)


def module_gone(module: ModuleFile) -> Problem:
    return Problem(
        code="module-missing",
        message=f"{module.source} is in modules.dep but cannot be read",
        hint="install the kernel's package again, or run depmod",
    )


def at_line(config: Config, key: str, problem: Problem) -> Problem:
    line = config.lines.get(key, 0)
    return replace(problem, file=KDUMP_CONF if line else "", line=line, key=key)


def _idle_options(modules: ModuleIndex, name: str, text: str, *, of: str) -> Problem | None:
    """Why options of a module would reach nobody."""
    if name in modules.files:
        return None
    if name in modules.builtin:
        words = " ".join(f"{name}.{word}" for word in text.split())
        return Problem(
            code="module-built-in",
            message=f"kernel {of} has {name} built in, which takes no options from kdump.conf",
            hint=f"put {words} into KDUMP_COMMANDLINE_APPEND",
            severity=Severity.WARNING,
        )
    return Problem(
        code="unknown-module",
        message=f"kernel {of} has no module {name}: its options are not used",
        hint="see modinfo for the name",
        severity=Severity.WARNING,
    )


def _looking_for(located: Located) -> Needs:
    """The blkid of busybox knows no PARTUUID=, nor does every kernel's uevent: util-linux's comes along.

    It also has no UUID of udf and bcachefs, and another one of hfsplus.
    """
    is_well_known = located.fstype in {"", "ext2", "ext3", "ext4", "xfs", "btrfs"}
    by_content = located.name.startswith("UUID=") and not is_well_known
    return Needs(programs=("blkid",)) if by_content or located.name.startswith("PARTUUID=") else Needs()


def _filesystem_module(modules: ModuleIndex, fstype: str) -> str:
    """The alias that mount itself asks for: the ext4 module serves ext2 and ext3."""
    return f"fs-{fstype}" if modules.named(f"fs-{fstype}") else fstype


def _inside(source: str) -> str:
    """Where a module is in the image: uncompressed, and below /usr."""
    return merged(f"{source[: source.rindex('.ko')]}.ko")
