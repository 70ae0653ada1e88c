"""From configuration and machine to the plan of the capture image and its loading, or to all that stands in its way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import MappingProxyType

from kdumpd import __version__, agent
from kdumpd.core import capture_kernel, locate, packages
from kdumpd.core import hooks as own_programs
from kdumpd.core.config import Config, FailureAction
from kdumpd.core.contents import SKELETON, Contents, merged
from kdumpd.core.dumps import ON_ROOTFS
from kdumpd.core.environment import AfterDump, AfterFailure, CaptureEnvironment, TargetKind, render
from kdumpd.core.ground import (
    Ground,
    at_line,
    image_modules,
    module_file,
    module_gone,
    module_problems,
    on,
    root_problems,
    to_load,
)
from kdumpd.core.hooks import Hooks
from kdumpd.core.inventory import Inventory, Kind, Wants
from kdumpd.core.locate import KDUMP_CONF
from kdumpd.core.machine import Machine
from kdumpd.core.modules import ModuleIndex
from kdumpd.core.plan import (
    BasePlan,
    Engine,
    Link,
    OverlayPlan,
    Plan,
    Resolution,
    Written,
    fingerprint,
)
from kdumpd.core.problems import Problem, Severity, Trouble, errors
from kdumpd.core.storage import Needs
from kdumpd.core.sysconfig import Sysconfig
from kdumpd.core.tuning import EngineChoice, Tuning

ROOTFS_DIRECTORY = "/var/crash"
"""Where the agent saves when failure_action is dump_to_rootfs; seen from `/` of the crashed system."""

BASE_RECIPE = 1
OVERLAY_RECIPE = 1

MIB = 1 << 20
KERNEL_WORKING_SET = 60 * MIB
"""What the capture kernel itself takes beside its image file: its code and data unpacked, page structures, slabs,
the buffers of one processor. Linux 6.1 of Debian 12 captured with 104 MiB reserved and not with 96, with an image of
10 MiB unpacked and a kernel file of 8 MiB: the estimate has to stay below 86."""
COLLECTOR_WORKING_SET = 10 * MIB
"""makedumpfile: 5 MiB resident, 4 MiB of bitmap at most, its libraries' pages shared with the image."""
LAYER_WORKING_SET = 8 * MIB
"""lvm or mdadm while they run; not at the same time as the collector, but their slabs stay."""

_HOST_PROGRAMS = MappingProxyType({"kexec": "it loads the crash kernel", "zstd": "it packs the image"})
"""Needed outside the image, and why."""


def wants(
    config: Config,
    sysconfig: Sysconfig,
    tuning: Tuning,
    machine: Machine,
    modules: ModuleIndex | None = None,
) -> Wants:
    """What has to be looked at. `modules_directory` is known at once; with its index given, `files` has the modules too:

    first = wants(config, sysconfig, tuning, machine)
    index = kernel_modules(files, first.modules_directory)
    inventory = await inventory(files, programs, wants(config, sysconfig, tuning, machine, index))
    """
    search = locate.target(config, machine)
    ground = on(config, sysconfig, tuning, machine, modules or ModuleIndex(), search.located)
    needs = ground.needs if ground else Needs()
    collector = config.core_collector[0]
    named = {hook.path for hook in own_programs.named(config)}
    kernel = capture_kernel.kernel_images(sysconfig, machine)
    module_files = {ground.modules.path(name) for name in image_modules(ground)} if ground else set[str]()
    return Wants(
        files=frozenset(
            {*kernel, *named, *module_files, "/etc/hosts", *([collector] if "/" in collector else [])}
        ),
        programs=frozenset(
            {
                *("busybox", *agent.PROGRAMS, *agent.WELCOME_PROGRAMS, "grep", "env", *_HOST_PROGRAMS),
                *needs.programs,
                *([] if "/" in collector else [collector]),
            }
        ),
        directories=frozenset(own_programs.FOLDERS),
        modules_directory=capture_kernel.modules_directory(sysconfig, machine),
    )


def resolve(
    *,
    config: Config,
    sysconfig: Sysconfig,
    tuning: Tuning,
    machine: Machine,
    modules: ModuleIndex,
    inventory: Inventory,
) -> Resolution:
    """The plan, or every problem there is; the same input gives the same plan, to the byte.

    A reservation that is missing or too small is no problem of the plan: the plan is the same with more memory.
    """
    search = locate.target(config, machine)
    hooks = own_programs.gathered(config, inventory)
    problems = [
        *search.problems,
        *_unserved(config, tuning),
        *capture_kernel.problems(sysconfig, machine, inventory),
        *_missing_programs(inventory),
        *hooks.problems,
    ]
    ground = on(config, sysconfig, tuning, machine, modules, search.located)
    if not modules.files:
        problems.append(_no_modules(sysconfig, machine))
        ground = None
    base_contents = _programs(config, inventory, ground.needs if ground else Needs())
    overlay_contents = Contents(inventory=inventory, beneath=base_contents.paths)
    problems += [*base_contents.problems.values(), *_put_hooks(overlay_contents, hooks)]
    if ground is None:
        return Resolution(plan=None, problems=_once(problems))
    problems += [*module_problems(ground), *root_problems(ground)]
    module_files = tuple(module_file(ground, name, inventory) for name in image_modules(ground))
    problems += [module_gone(module) for module in module_files if not module.digest]
    base = BasePlan(
        engine=Engine.DIRECT,
        recipe=BASE_RECIPE,
        kernel_release=capture_kernel.release(sysconfig, machine),
        compression_level=tuning.compression_level,
        modules=module_files,
        items=base_contents.sorted_items,
    )
    if hooks.all and inventory.facts("/etc/hosts").kind is Kind.FILE:
        overlay_contents.add(
            "/etc/hosts", said_by=Problem(code="file-unreadable", message="/etc/hosts is gone")
        )
    environment = _environment(ground, hooks)
    try:
        blank = _overlay(overlay_contents, environment)
    except Trouble as trouble:
        problems += trouble.problems
        return Resolution(plan=None, problems=_once(problems))
    told = _once(problems)
    if errors(told):
        return Resolution(plan=None, problems=told)
    capture_id = fingerprint([fingerprint(base), fingerprint(blank)])
    plan = Plan(
        base=base,
        overlay=_overlay(overlay_contents, replace(environment, capture_id=capture_id)),
        load=capture_kernel.load_plan(sysconfig, machine, inventory, capture_id=capture_id),
        engine_reason=_engine_reason(ground),
        target=_told(ground),
        working_set_bytes=_working_set(ground),
        capture_id=capture_id,
        warnings=told,
    )
    return Resolution(plan=plan, problems=told)


def _unserved(config: Config, tuning: Tuning) -> Iterable[Problem]:
    """What the configuration asks for and this release does not have."""
    if tuning.engine is EngineChoice.DRACUT:
        yield Problem(
            code="engine-not-yet",
            message="engine dracut is chosen in kdumpd.toml, and this release does not have it yet",
            hint='write engine = "auto"',
            key="engine",
        )
    elif config.dracut_args and not (config.dracut_mount and len(config.dracut_args) <= 2):
        yield at_line(
            config,
            "dracut_args",
            Problem(
                code="dracut-args-unused",
                message="dracut_args is for engine dracut, which this release does not have: what it asks for beside "
                "--mount is left out",
                hint="use extra_bins and extra_modules",
                severity=Severity.WARNING,
            ),
        )
    if config.fence_kdump_nodes:
        yield at_line(
            config,
            "fence_kdump_nodes",
            Problem(
                code="fence-kdump-not-yet",
                message="fence_kdump_nodes is understood, but this release brings no network up in the capture kernel",
                hint="remove it; the cluster has to fence by other means until a later release",
            ),
        )


def _missing_programs(inventory: Inventory) -> Iterable[Problem]:
    for name, why in _HOST_PROGRAMS.items():
        if name not in inventory.programs:
            yield packages.missing(name, why=why)


def _no_modules(sysconfig: Sysconfig, machine: Machine) -> Problem:
    return Problem(
        code="no-modules",
        message=f"{capture_kernel.modules_directory(sysconfig, machine)} has no modules.dep: the modules of the capture "
        "kernel are not known",
        hint="install the kernel's package, run depmod, or reboot into a kernel that is installed",
        key="KDUMP_KERNELVER" if "KDUMP_KERNELVER" in sysconfig.lines else "",
    )


def _programs(config: Config, inventory: Inventory, needs: Needs) -> Contents:
    """The collector, what the layers need, and busybox for all else, or where there is none the host's own."""
    base = Contents(inventory=inventory)
    base.put((*SKELETON, *needs.files))
    _put_program(
        base, config.core_collector[0], why="it is the core collector", config=config, key="core_collector"
    )
    for name in needs.programs:
        _put_program(base, name, why="a layer below the target needs it", config=config)
    if "busybox" in inventory.programs:
        _put_program(base, "busybox", why="the agent runs on it", config=config)
        busybox = merged(inventory.programs["busybox"])
        base.put(
            Link(path=f"/usr/{folder}/{name}", target=busybox)
            for folder, names in packages.APPLETS.items()
            for name in names
            if not {f"/usr/bin/{name}", f"/usr/sbin/{name}"} & base.paths
        )
        return base
    for name in (*agent.PROGRAMS, "grep"):
        _put_program(base, name, why="the agent needs it; busybox would do as well", config=config)
    for name in (*agent.WELCOME_PROGRAMS, "env"):
        if name in inventory.programs:
            _put_program(base, name, why="", config=config)
    return base


def _put_program(base: Contents, name: str, *, why: str, config: Config, key: str = "") -> None:
    path = name if "/" in name else base.inventory.programs.get(name, "")
    line = config.lines.get(key, 0)
    problem = packages.missing(name, why=why, file=KDUMP_CONF, line=line, key=key)
    if not path:
        base.problems[problem.code, name] = problem
        return
    base.add(path, said_by=problem)


def _put_hooks(overlay: Contents, hooks: Hooks) -> tuple[Problem, ...]:
    for hook in hooks.all:
        overlay.add(hook.path, said_by=hook.missing)
    return tuple(overlay.problems.values())


def _overlay(contents: Contents, environment: CaptureEnvironment) -> OverlayPlan:
    items = {item.path: item for item in contents.sorted_items}
    for path, data in agent.files().items():
        mode = 0o755 if path == "init" else 0o644
        items[f"/{path}"] = Written(path=f"/{path}", text=data.decode("utf-8"), mode=mode)
    items["/kdump/plan.env"] = Written(path="/kdump/plan.env", text=render(environment), mode=0o600)
    return OverlayPlan(recipe=OVERLAY_RECIPE, items=tuple(items[path] for path in sorted(items)))


def _environment(ground: Ground, hooks: Hooks) -> CaptureEnvironment:
    config, machine, target, root = ground.config, ground.machine, ground.target, ground.root
    return CaptureEnvironment(
        capture_id="",
        version=__version__,
        kernel_release=machine.kernel_release,
        host_name=machine.host_name,
        timezone=machine.timezone,
        target_kind=TargetKind.FILESYSTEM,
        target_fstype=target.fstype,
        target_device=target.name,
        target_mount_options=target.mount_options,
        target_directory=target.directory,
        core_collector=config.core_collector,
        # makedumpfile up to 1.7.7 may corrupt a dump with threads, and its version is not known here.
        collector_max_threads=0,
        modules=to_load(ground),
        bring_up=ground.needs.bring_up,
        kdump_pre=config.kdump_pre,
        kdump_post=config.kdump_post,
        kdump_emergency=config.kdump_emergency,
        pre_d=hooks.pre_d,
        post_d=hooks.post_d,
        emergency_d=hooks.emergency_d,
        failure_action=AfterFailure(config.failure_action.value),
        final_action=AfterDump(config.final_action.value),
        debug_mem_level=config.debug_mem_level,
        disk_timeout=config.disk_timeout,
        stall_seconds=int(ground.tuning.stall_seconds),
        root_device=root.name if root else "",
        root_fstype=root.fstype if root else "",
        root_mount_options=root.mount_options if root else "",
        root_directory=root.directory.rstrip("/") if root else "",
    )


def _engine_reason(ground: Ground) -> str:
    return f"direct, for every layer is known: {ground.target.fstype} on {ground.target.stack.words}"


def _told(ground: Ground) -> MappingProxyType[str, str]:
    target = ground.target
    saves_to_rootfs = ground.config.failure_action is FailureAction.DUMP_TO_ROOTFS and ground.root is not None
    return MappingProxyType(
        {
            "type": "filesystem",
            "fstype": target.fstype,
            "device": target.name,
            "node": f"/dev/{target.device.name}",
            "directory": target.directory,
            "layers": target.stack.words,
            **({ON_ROOTFS: ROOTFS_DIRECTORY} if saves_to_rootfs else {}),
        }
    )


def _working_set(ground: Ground) -> int:
    layers = LAYER_WORKING_SET if ground.needs.programs else 0
    return KERNEL_WORKING_SET + COLLECTOR_WORKING_SET + layers


def _once(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Errors first, in the order of lines; each told once."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: (not problem.is_error, problem.line)))
