"""From configuration and machine to the plan of the capture image and its loading, or to all that stands in its way."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import replace
from math import ceil
from types import MappingProxyType

from kdumpd import __version__, agent
from kdumpd.core import (
    capture_kernel,
    collector,
    dracut,
    fence,
    firmware,
    footprint,
    kernel_size,
    locate,
    makedumpfile,
    programs,
    unpackers,
)
from kdumpd.core import hooks as own_programs
from kdumpd.core.config import Config, FailureAction, printable
from kdumpd.core.contents import Contents
from kdumpd.core.dumps import ON_ROOTFS
from kdumpd.core.environment import AfterDump, AfterFailure, CaptureEnvironment, render
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
from kdumpd.core.located import Located
from kdumpd.core.machine import Machine
from kdumpd.core.modules import ModuleIndex
from kdumpd.core.needs import Needs
from kdumpd.core.network import names_along
from kdumpd.core.plan import (
    BasePlan,
    Engine,
    OverlayPlan,
    Packing,
    Plan,
    Resolution,
    Written,
    fingerprint,
)
from kdumpd.core.problems import Problem, Trouble, errors
from kdumpd.core.sysconfig import Sysconfig
from kdumpd.core.targets import TargetKind
from kdumpd.core.tuning import Tuning

SSH_CONFIG_FOLDER = "/etc/ssh/ssh_config.d"
"""Read by ssh through the Include of its ssh_config."""

LONGEST_TOLD = 1000
"""Characters of a problem's sentence: many files may have been looked for in vain, and each is named."""

BASE_RECIPE = 2
OVERLAY_RECIPE = 1


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
    located = dracut.with_keys(search.located, machine)
    ground = on(config, sysconfig, tuning, machine, modules or ModuleIndex(), located)
    needs = ground.needs if ground else Needs()
    may_be_dracut = ground is not None and dracut.may_be_chosen(config, tuning, ground.target)
    argv = config.core_collector
    named = {hook.path for hook in own_programs.named(config)}
    kernel = capture_kernel.kernel_images(sysconfig, machine)
    kernel_configs = capture_kernel.kernel_configs(sysconfig, machine)
    module_files = {ground.modules.path(name) for name in image_modules(ground)} if ground else set[str]()
    return Wants(
        files=frozenset(
            {
                *(*kernel, *kernel_configs, *named, *module_files, "/etc/hosts"),
                *(fence.SENDERS if config.fence_kdump_nodes else ()),
                *([argv[0]] if "/" in argv[0] else []),
                *(ground.target.private if ground else ()),
                *(machine.ssh.read if machine.ssh else ()),
                *(dracut.sources(ground) if ground and may_be_dracut else ()),
            }
        ),
        programs=programs.wanted(config, needs)
        | ({"dracut", *dracut.PROGRAMS} if may_be_dracut else frozenset()),
        directories=frozenset(
            {
                *own_programs.FOLDERS,
                *([SSH_CONFIG_FOLDER] if machine.ssh else []),
                *(dracut.FOLDERS if may_be_dracut else ()),
            }
        ),
        trees=frozenset(dracut.TREES if may_be_dracut else ()),
        modules_directory=capture_kernel.modules_directory(sysconfig, machine),
        kernel_configs=kernel_configs,
        hosts=locate.hosts(config, machine) | fence.hosts(config),
        ssh=locate.ssh_wish(config),
        modules=frozenset(module_files),
        collector=argv if collector.is_makedumpfile(argv) else (),
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
    suited = makedumpfile.suited(
        config.core_collector,
        inventory.makedumpfile,
        was_written="core_collector" in config.lines,
        kernel_release=machine.kernel_release,
        command_line=capture_kernel.command_line(sysconfig, machine, capture_id=""),
    )
    config = config.model_copy(update={"core_collector": suited.argv})
    problems = [
        *search.problems,
        *capture_kernel.problems(sysconfig, machine, inventory),
        *unpackers.problems(inventory.unpackers),
        *hooks.problems,
        *(at_line(config, "core_collector", problem) for problem in suited.problems),
        *fence.problems(config, inventory),
    ]
    ground = on(config, sysconfig, tuning, machine, modules, dracut.with_keys(search.located, machine))
    if not modules.files:
        problems.append(_no_modules(sysconfig, machine))
        ground = None
    packed = unpackers.packed(inventory.unpackers)
    choice = dracut.chosen(config, tuning, ground.target, inventory) if ground else dracut.NO_CHOICE
    module_files = [ground.modules.path(name) for name in image_modules(ground)] if ground else []
    problems += programs.missing_outside(
        inventory, packing=packed.base, modules=module_files if choice.engine is Engine.DIRECT else ()
    )
    base_contents = programs.of_base(config, inventory, ground.needs if ground else Needs(), choice.engine)
    sender = fence.sender(config, inventory)
    if sender:
        base_contents.add(sender, said_by=fence.missing_sender(config))
    if ground is not None:
        problems += firmware.put(base_contents, ground)
    overlay_contents = Contents(inventory=inventory, beneath=base_contents.paths)
    problems += [*base_contents.problems.values(), *_put_hooks(overlay_contents, hooks)]
    if ground is None:
        return Resolution(plan=None, problems=_once(problems))
    problems += [
        *ground.fence.problems,
        *choice.problems,
        *module_problems(ground),
        *root_problems(ground),
    ]
    base = BasePlan(
        engine=choice.engine,
        recipe=BASE_RECIPE,
        kernel_release=capture_kernel.release(sysconfig, machine),
        compression_level=min(tuning.compression_level, packed.base.highest_level),
        items=base_contents.sorted_items,
        packing=packed.base,
    )
    kind = footprint.memory_kind(ground, choice.engine)
    environment = _environment(ground, hooks, most_threads=suited.most_threads, sender=sender, kind=kind)
    if choice.engine is Engine.DRACUT:
        problems += dracut.key_problems(ground.target, machine)
        in_vain = unpackers.asked_in_vain(inventory.unpackers, dracut.arguments_beside_mount(config))
        problems += (at_line(config, "dracut_args", problem) for problem in in_vain)
        base = replace(
            base, dracut_args=dracut.arguments(ground), dracut_sources=dracut.counted(ground, inventory)
        )
        overlay_contents.put(dracut.written(ground))
        environment = replace(environment, modules=dracut.modules(ground), bring_up=())
    else:
        base = replace(
            base, modules=tuple(module_file(ground, name, inventory) for name in image_modules(ground))
        )
        problems += [module_gone(module) for module in base.modules if not module.digest]
    if machine.network.hosts:
        overlay_contents.put(names_along(machine.network))
    elif hooks.all and inventory.facts("/etc/hosts").kind is Kind.FILE:
        overlay_contents.add(
            "/etc/hosts", said_by=Problem(code="file-unreadable", message="/etc/hosts is gone")
        )
    problems += _put_private(overlay_contents, ground)
    overlay_contents.put(ground.target.written)
    overlay_contents.put(ground.root.written if ground.root else ())
    try:
        blank = _overlay(overlay_contents, environment, choice.engine, packed.overlay)
    except Trouble as trouble:
        problems += trouble.problems
        return Resolution(plan=None, problems=_once(problems))
    told = _once(problems)
    if errors(told):
        return Resolution(plan=None, problems=told)
    capture_id = fingerprint([fingerprint(base), fingerprint(blank)])
    load = capture_kernel.load_plan(sysconfig, machine, inventory, capture_id=capture_id)
    kernel = inventory.facts(load.kernel_image)
    plan = Plan(
        base=base,
        overlay=_overlay(
            overlay_contents, replace(environment, capture_id=capture_id), choice.engine, packed.overlay
        ),
        load=load,
        engine_reason=_engine_reason(ground, choice),
        target=_told(ground),
        working_set_bytes=footprint.working_set(ground, choice.engine),
        capture_id=capture_id,
        warnings=told,
        kernel_bytes=kernel_size.resident_bytes(loaded=kernel.loaded_bytes, file=kernel.size_bytes),
        unpacked_bytes=footprint.unpacked(base, blank, inventory),
        memory_kind=kind,
        packing_reason=packed.why,
    )
    return Resolution(plan=plan, problems=told)


def _no_modules(sysconfig: Sysconfig, machine: Machine) -> Problem:
    return Problem(
        code="no-modules",
        message=f"{capture_kernel.modules_directory(sysconfig, machine)} has no modules.dep: the modules of the capture "
        "kernel are not known",
        hint="install the kernel's package, run depmod, or reboot into a kernel that is installed",
        key="KDUMP_KERNELVER" if "KDUMP_KERNELVER" in sysconfig.lines else "",
    )


def _put_hooks(overlay: Contents, hooks: Hooks) -> tuple[Problem, ...]:
    for hook in hooks.all:
        overlay.add(hook.path, said_by=hook.missing)
    return tuple(overlay.problems.values())


def _put_private(overlay: Contents, ground: Ground) -> tuple[Problem, ...]:
    before = frozenset(overlay.problems)
    for path in ground.target.private:
        gone = Problem(code="file-unreadable", message=f"{path} is gone", hint="the target needs it")
        overlay.add(
            path, said_by=at_line(ground.config, ground.config.target_directive, gone), is_private=True
        )
    return tuple(problem for key, problem in overlay.problems.items() if key not in before)


def _overlay(
    contents: Contents, environment: CaptureEnvironment, engine: Engine, packing: Packing
) -> OverlayPlan:
    items = {item.path: item for item in contents.sorted_items}
    for path, data in agent.files().items():
        mode = 0o755 if path == "init" else 0o644
        place = f"/{dracut.AGENT if path == 'init' and engine is Engine.DRACUT else path}"
        items[place] = Written(path=place, text=data.decode("utf-8"), mode=mode)
    items["/kdump/plan.env"] = Written(path="/kdump/plan.env", text=render(environment), mode=0o600)
    ordered = tuple(items[path] for path in sorted(items))
    return OverlayPlan(recipe=OVERLAY_RECIPE, items=ordered, packing=packing)


def _environment(
    ground: Ground, hooks: Hooks, *, most_threads: int, sender: str, kind: str
) -> CaptureEnvironment:
    config, machine, target, root = ground.config, ground.machine, ground.target, ground.root
    return CaptureEnvironment(
        capture_id="",
        version=__version__,
        kernel_release=machine.kernel_release,
        host_name=machine.host_name,
        timezone=machine.timezone,
        target_kind=target.kind,
        target_fstype=target.fstype,
        target_device=target.name,
        target_mount_options=target.mount_options,
        mount_tries=target.mount_tries,
        target_directory=target.directory,
        raw_bytes=target.device.size_bytes if target.device and target.kind is TargetKind.RAW else 0,
        raw_contents=target.device.contents if target.device and target.kind is TargetKind.RAW else "",
        directory_prefix=target.directory_prefix,
        ssh_hosts=target.ssh_hosts,
        remote_parent=shlex.quote(target.directory) if target.ssh_hosts else "",
        remote_beginning=_remote_beginning(target) if target.ssh_hosts else "",
        core_collector=collector.for_file(config.core_collector),
        stream_collector=config.core_collector if collector.wants_stream(config.target) else (),
        collector_max_threads=most_threads,
        modules=to_load(ground),
        bring_up=ground.needs.bring_up,
        network=ground.network,
        target_needs_network=int(bool(target.ways)),
        fence=fence.command(config, ground.fence.addresses, sender),
        link_delay=config.link_delay,
        kdump_pre=config.kdump_pre,
        kdump_post=config.kdump_post,
        kdump_emergency=config.kdump_emergency,
        pre_d=hooks.pre_d,
        post_d=hooks.post_d,
        emergency_d=hooks.emergency_d,
        failure_action=AfterFailure(config.failure_action.value),
        final_action=AfterDump(config.final_action.value),
        debug_mem_level=config.debug_mem_level,
        memory_kind=kind,
        disk_timeout=config.disk_timeout,
        stall_seconds=int(ground.tuning.stall_seconds),
        hook_timeout=ceil(ground.tuning.hook_timeout_seconds),
        root_device=root.name if root else "",
        root_fstype=root.fstype if root else "",
        root_mount_options=root.mount_options if root else "",
        root_directory=root.directory.rstrip("/") if root else "",
    )


def _remote_beginning(target: Located) -> str:
    return shlex.quote(f"{target.directory.rstrip('/')}/{target.directory_prefix}-")


def _engine_reason(ground: Ground, choice: dracut.Choice) -> str:
    if choice.engine is Engine.DRACUT:
        return f"dracut, for {choice.why}"
    return f"direct, for every layer is known: {ground.target.fstype or ground.target.kind.value} on {ground.target.words}"


def _told(ground: Ground) -> MappingProxyType[str, str]:
    saves_to_rootfs = ground.config.failure_action is FailureAction.DUMP_TO_ROOTFS and ground.root is not None
    rootfs = {ON_ROOTFS: locate.ROOTFS_DIRECTORY} if saves_to_rootfs else {}
    return MappingProxyType({**ground.target.told, **rootfs})


def _once(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Errors first, in the order of lines; each told once, and fit for a terminal: a label may hold anything."""
    told = (
        replace(
            problem,
            message=printable(problem.message, most=LONGEST_TOLD),
            hint=printable(problem.hint, most=LONGEST_TOLD),
        )
        for problem in problems
    )
    return tuple(sorted(dict.fromkeys(told), key=lambda problem: (not problem.is_error, problem.line)))
