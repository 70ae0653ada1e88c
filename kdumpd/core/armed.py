"""The record of what was loaded: written after each load, so that a look tells ours from somebody else's."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, JsonValue


class Armed(BaseModel):
    """One successful load. Kept in /run/kdumpd/armed for this boot, and as last-good.json in the store for the next."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    boot_id: str
    loaded_us: int  # microseconds since epoch
    kernel_release: str
    kernel_image: str
    initramfs: str
    command_line: str
    kexec_flags: tuple[str, ...]
    base: str
    overlay: str
    image: str
    load: str  # Plan.load_fingerprint
    load_but_layout: str = ""  # Plan.load_fingerprint_but_layout
    description: JsonValue  # describe(plan): "why stale?" is answered by a diff against today's
