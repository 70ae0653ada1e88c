"""Where a target of kind ssh lies, and what the capture kernel needs to reach it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from types import MappingProxyType

from kdumpd.core import ssh
from kdumpd.core.config import Config
from kdumpd.core.located import Line, Located, Search
from kdumpd.core.machine import Machine
from kdumpd.core.network import Way, way_to
from kdumpd.core.plan import Written
from kdumpd.core.problems import Problem, errors
from kdumpd.core.ssh import SshKey, SshServer, SshWish
from kdumpd.core.targets import Ssh
from kdumpd.core.values import DEFAULT_SSH_KEY

PROPAGATE = "`kdumpctl propagate` makes a key, gives it to the server and learns the server's own"

_USERS = "root:x:0:0:root:/root:/bin/sh\n"
"""ssh runs for nobody whom passwd(5) does not know."""


def wish(config: Config, target: Ssh) -> SshWish:
    return SshWish(destination=target.destination, keys=_keys(config))


def hosts(machine: Machine) -> frozenset[str]:
    return frozenset({machine.ssh.host} if machine.ssh and machine.ssh.host else ())


def target(config: Config, machine: Machine, target: Ssh, line: Line) -> Search:
    server = machine.ssh
    if server is None or server.fault or not server.host:
        why = server.fault if server is not None and server.fault else "it has no answer"
        return _refused(
            [
                line.problem(
                    "ssh-unanswered",
                    f"ssh does not say how it would reach {target.destination}: {why}",
                    f"look at what `ssh -G {target.destination}` says",
                )
            ]
        )
    key, of_key = _chosen_key(config, server)
    problems = [*_problems_of(server, target, line), *of_key, *_problems_of_scp(config)]
    way = way_to(machine.network, server.host)
    if not isinstance(way, Way):
        return _refused([*problems, *(line.placed(problem) for problem in way)])
    problems += [line.placed(problem) for problem in way.warnings]
    if key is None or errors(problems):
        return _refused(problems)
    name = key.path
    return Search(
        problems=tuple(problems),
        located=Located(
            kind=target.kind,
            name=target.destination,
            directory=f"./{config.path}" if config.path.startswith("-") else config.path,
            directory_prefix=way.source.partition("%")[0] or machine.host_name,
            told=MappingProxyType(
                {
                    "type": target.kind.value,
                    "user": target.user,
                    "server": target.host,
                    "directory": config.path,
                    "sshkey": name,
                    "layers": way.words,
                }
            ),
            ways=(way,),
            ssh_hosts=tuple(f"{target.user}@{host}" for host in ssh.hosts(way.addresses)),
            programs=("ssh",),
            private=(name,),
            written=(
                Written(
                    path=ssh.CONFIG,
                    text=ssh.config_text(server, key=name, addresses=way.addresses),
                    mode=0o600,
                    is_secret=True,
                ),
                Written(path=ssh.KNOWN_HOSTS, text=ssh.known_hosts_text(server), mode=0o600, is_secret=True),
                Written(path="/etc/passwd", text=_USERS),
            ),
            beyond_direct=tuple(line.placed(problem) for problem in way.beyond_direct),
        ),
    )


def _keys(config: Config) -> tuple[str, ...]:
    return tuple(dict.fromkeys((config.sshkey, DEFAULT_SSH_KEY)))


def _chosen_key(config: Config, server: SshServer) -> tuple[SshKey | None, list[Problem]]:
    """The key of `sshkey`, or the default one where that is missing, as kdump always did."""
    line = Line(number=config.lines.get("sshkey", 0), key="sshkey")
    there = [key for key in server.keys if key.is_there]
    if not there:
        named = " nor ".join(_keys(config))
        return None, [line.problem("ssh-key-missing", f"there is no key {named}", PROPAGATE)]
    key = there[0]
    problems = []
    if key.path != config.sshkey:
        message = f"{config.sshkey} does not exist; {key.path} is used"
        problems.append(line.warning("ssh-key-not-found", message, "write the key that is meant"))
    if key.fault:
        problems.append(line.problem("ssh-key-unusable", f"the key {key.path} {key.fault}", PROPAGATE))
    elif not ssh.is_plain(key.path):
        problems.append(
            line.problem(
                "ssh-key-unusable",
                f"the key {key.path!r} has a name that ssh_config cannot hold",
                "give it a name without quotes, backslashes and ${",
            )
        )
    elif key.is_too_open:
        message = f"{key.path} can be read by others than its owner: ssh refuses it here"
        problems.append(line.warning("ssh-key-too-open", message, f"chmod 600 {key.path}"))
    return key, problems


def _problems_of(server: SshServer, target: Ssh, line: Line) -> Iterable[Problem]:
    if server.way_there:
        yield line.problem(
            "ssh-through-proxy",
            f"ssh_config reaches {target.host} by {server.way_there}, which the capture kernel cannot follow",
            "name a host that this machine reaches by itself",
        )
    if not ssh.has_host_key(server):
        unread = "".join(f"; {each}" for each in server.unread)
        yield line.problem(
            "ssh-host-unknown",
            f"no known_hosts file has a key of {server.looked_up[0]}: the capture kernel would not know whom it gives the "
            f"dump to{unread}",
            PROPAGATE,
        )


def _problems_of_scp(config: Config) -> Iterable[Problem]:
    """Whether scp hands a name to a shell of the server depends on the versions of both; it must not matter."""
    if config.core_collector[0].rpartition("/")[2] == "scp" and shlex.quote(config.path) != config.path:
        line = Line(number=config.lines.get("path", 0), key="path")
        yield line.problem(
            "unfit-path",
            f"scp cannot be told the directory `{config.path}` safely",
            "write a path of only letters, digits and - . _ /, or core_collector makedumpfile",
        )


def _refused(problems: list[Problem]) -> Search:
    return Search(located=None, problems=tuple(problems))
