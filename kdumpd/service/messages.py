"""Knows the journal's MESSAGE_IDs of kdumpd, which units/kdumpd.catalog explains to whoever reads `journalctl -x`."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Message(StrEnum):
    """Stable for ever: others match on these. A message that changes its meaning gets a new id."""

    ARMED = "e7eeed9ce53440eeaaa08ce52f39546d"
    STALE = "50d2a60a32764210811a1b79b39d6138"
    DISARMED = "8733319400b94c09ab4cc8248ee4660b"
    BUILD_FAILED = "629fd5f74f974e0893bac954414ad3b7"
    LOAD_FAILED = "51c2425cc0704fa5b7790499a688e4bc"
    CONFIG_INVALID = "312943949c8a477bbd54281e2fbe6368"
    DUMP_FOUND = "80d8a3d32e9640398b15ff91b9ca0e99"
    AUDIT = "8c5e77e9af24499abc1ec38686dcb05c"
    CAPTURE_FAILED = "e34ec15995c64359a604f265936215fa"
    DUMP_REMOVED = "574bc158e1cc4c45a66810bb748cfc80"
    TEST_CRASH = "f0cb0ea17df84829a5da38af75b8ef32"
    TEST_CRASH_OUTCOME = "c112162dc3a348768ca7599812ef25e6"


WHY: Final = "KDUMPD_WHY"
"""Journal field: the reason, one sentence, as State and StateMessage give it."""

JOB: Final = "KDUMPD_JOB"
"""Journal field: the number of the job that the entry belongs to."""

PLAN: Final = "KDUMPD_PLAN"
"""Journal field: the fingerprint of the plan that the entry is about."""

DUMP: Final = "KDUMPD_DUMP"
"""Journal field: the directory of the dump that the entry is about."""

CALLER_UID: Final = "KDUMPD_CALLER_UID"
"""Journal field: who called, `unknown` where they had left."""

CALLER_PID: Final = "KDUMPD_CALLER_PID"
"""Journal field: the process that called; a number that another process may have had since."""

METHOD: Final = "KDUMPD_METHOD"
"""Journal field: what was called, such as Config.Set."""

RESULT: Final = "KDUMPD_RESULT"
"""Journal field: `granted`, or the last part of the error's name with which it was refused; of a test crash `passed` or `failed`."""
