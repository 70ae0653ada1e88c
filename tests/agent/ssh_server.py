"""A real sshd on the loopback of this machine, for the user who runs the tests."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

USER = pwd.getpwuid(os.getuid()).pw_name
ADDRESSES = ("127.0.0.1", "::1")


class SshServer:
    """Keys below `folder`; nothing listens before `running`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        folder.chmod(0o700)
        for name in ("host", "user", "stranger"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)],
                check=True,
            )
        self.port = _free_port()
        shutil.copy(folder / "user.pub", folder / "authorized")

    @property
    def host_key(self) -> str:
        return " ".join((self.folder / "host.pub").read_text().split()[:2])

    @contextlib.contextmanager
    def running(self, *options: str) -> Iterator[None]:
        sshd = shutil.which("sshd", path="/usr/sbin:/sbin")
        assert sshd, "openssh-server is not installed"
        if os.getuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # sshd's own, whatever it is told
        settings = (
            *(f"ListenAddress [{address}]:{self.port}" for address in ADDRESSES),
            f"HostKey {self.folder}/host",
            f"AuthorizedKeysFile {self.folder}/authorized",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "Subsystem sftp internal-sftp",
            *options,
        )
        (self.folder / "sshd_config").write_text("\n".join(settings) + "\n")
        with (self.folder / "log").open("ab") as log:
            server = subprocess.Popen([sshd, "-D", "-e", "-f", f"{self.folder}/sshd_config"], stderr=log)
        try:
            self._wait(server)
            yield
        finally:
            server.terminate()
            server.wait(timeout=10)

    def _wait(self, server: subprocess.Popen[bytes]) -> None:
        """Until it greets: a connection that is taken tells that it listens."""
        for _ in range(1000):
            assert server.poll() is None, (self.folder / "log").read_text()
            with (
                contextlib.suppress(ConnectionRefusedError),
                socket.create_connection(("127.0.0.1", self.port), timeout=5) as greeting,
            ):
                assert greeting.recv(4) == b"SSH-"
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(timeout=0.01)
        raise AssertionError((self.folder / "log").read_text())


def _free_port() -> int:
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::", 0))
        port: int = probe.getsockname()[1]
        return port
