"""The record of what was loaded: written after each load, so that a look tells ours from somebody else's."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, JsonValue

from kdumpd.core.machine import CrashKernel
from kdumpd.core.plan import Plan


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
    load: str  # Plan.load_fingerprint, of the plan that it was first loaded for
    load_but_layout: str = ""  # Plan.load_fingerprint_but_layout
    layout: str | None = None
    """Machine.layout at the load, which the crash headers describe; None in a record of an older kdumpd."""
    description: JsonValue  # describe(plan): "why stale?" is answered by a diff against today's

    @property
    def described_layout(self) -> str | None:
        """An older kdumpd loaded nothing under another layout than that of its plan."""
        load = self.description.get("load") if isinstance(self.description, dict) else None
        planned = load.get("layout") if isinstance(load, dict) else None
        return planned if self.layout is None and isinstance(planned, str) else self.layout

    @property
    def kernel_digest(self) -> str:
        """Of the file `kernel_image` when it was loaded, "" where the record does not say."""
        load = self.description.get("load") if isinstance(self.description, dict) else None
        digest = load.get("kernel_digest") if isinstance(load, dict) else None
        return digest if isinstance(digest, str) else ""

    def under(self, layout: str) -> Armed:
        """What is to be written down where the same is loaded again while the machine has this layout."""
        description = self.description
        if isinstance(description, dict) and isinstance(load := description.get("load"), dict):
            description = {**description, "load": {**load, "layout": layout}}
        return self.model_copy(update={"layout": layout, "description": description})


def is_what_was_loaded(plan: Plan, armed: Armed, crash: CrashKernel) -> bool:
    """Whether loading `plan` now would change nothing."""
    is_same_but_layout = armed.load_but_layout == plan.load_fingerprint_but_layout
    if armed.layout is None:
        return armed.load == plan.load_fingerprint or (crash.keeps_layout and is_same_but_layout)
    return is_same_but_layout and (crash.keeps_layout or armed.layout == plan.load.layout)
