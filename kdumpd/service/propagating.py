"""Gives the configured ssh target a key when somebody asks, as a job."""

from __future__ import annotations

from functools import partial

from kdumpd.core import ssh
from kdumpd.core.problems import Problem, Trouble
from kdumpd.core.targets import Ssh
from kdumpd.core.values import DEFAULT_SSH_KEY
from kdumpd.host.propagate import Propagation, Propagations
from kdumpd.service.hands import Sight
from kdumpd.service.in_turn import InTurn
from kdumpd.service.jobs import Job, Jobs, Kind, Result


class Propagating:
    def __init__(self, *, propagations: Propagations, jobs: Jobs) -> None:
        self._propagations = propagations
        self._jobs = jobs
        self._in_turn = InTurn(jobs, half_done="the server may have the key already")

    def ask(self, sight: Sight, *, password: str, host_key: str, uid: int) -> Job:
        """Raises Trouble where the configuration names no ssh target, or too many ask."""
        wish = _wish(sight, password=password, host_key=host_key)
        self._in_turn.require_room("keys are being given to other servers; ask again")
        job = self._jobs.ask(Kind.PROPAGATE, reason=f"a key for {wish.destination} was asked for", uid=uid)
        self._in_turn.add(job, partial(self._give, wish), stage="give the key")
        return job

    async def run(self) -> None:
        """For ever."""
        await self._in_turn.run()

    async def _give(self, wish: Propagation, job: Job) -> None:
        try:
            await self._propagations.give(wish, say=job.say)
        except Trouble as trouble:
            self._jobs.end(job, Result.FAILED, problems=trouble.problems)
        except OSError as fault:
            told = Problem(code="failed", message=f"the key could not be given: {fault.strerror or fault}")
            self._jobs.end(job, Result.FAILED, problems=(told,))
        else:
            self._jobs.end(job, Result.DONE, message=f"a dump can be saved on {wish.destination}")


def _wish(sight: Sight, *, password: str, host_key: str) -> Propagation:
    read, server = sight.config.config, sight.machine.ssh
    target = read.target if read is not None else None
    if read is None or not isinstance(target, Ssh):
        raise Trouble(Problem(code="not-supported", message="the configuration names no ssh target"))
    if server is None or server.fault or not server.host:
        why = server.fault if server is not None and server.fault else "it has no answer"
        told = f"ssh does not say how it would reach {target.destination}: {why}"
        raise Trouble(Problem(code="target-unreachable", message=told))
    there = [key.path for key in server.keys if key.is_there]
    return Propagation(
        destination=target.destination,
        directory=read.path,
        key=there[0] if there else DEFAULT_SSH_KEY,
        host=server.host,
        port=server.port,
        name=server.looked_up[0],
        host_name=sight.machine.host_name,
        is_known=ssh.has_host_key(server),
        password=password,
        host_key=host_key,
    )
