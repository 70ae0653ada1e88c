"""The linters are tests: one command is the gate. They start together and each test waits for its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


def shell_scripts() -> list[str]:
    """The gate, the unit's program, the maintainer scripts and the examples; tests/agent looks at the agent as the one script it is."""
    files = [*(ROOT / ".ci").iterdir(), *(ROOT / "units").rglob("*"), *(ROOT / "debian").glob("kdumpd.*")]
    files += (ROOT / "docs/api/examples").glob("*.sh")
    return sorted(
        str(path.relative_to(ROOT))
        for path in files
        if path.is_file() and path.read_bytes().startswith(b"#!")
    )


LINTERS = {
    "mypy": [str(BIN / "mypy")],
    "import-linter": [str(BIN / "lint-imports")],
    "ruff format": [str(BIN / "ruff"), "format", "--check", "--diff", "."],
    "ruff check": [str(BIN / "ruff"), "check", "."],
    "shellcheck": ["shellcheck", *shell_scripts()],
}


@pytest.fixture(scope="module")
def running() -> Iterator[dict[str, subprocess.Popen[str]]]:
    started = {
        name: subprocess.Popen(
            argv,
            cwd=ROOT,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for name, argv in LINTERS.items()
    }
    yield started
    for process in started.values():
        with process:  # a test that was left out leaves its linter running
            process.kill()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", sorted(LINTERS))
def test_nothing_to_say(running: dict[str, subprocess.Popen[str]], name: str) -> None:
    said, _ = running[name].communicate()
    assert running[name].returncode == 0, f"{name}:\n{said}"
