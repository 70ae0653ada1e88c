"""The store of bases and images by fingerprint: made beside, published by rename, believed only when whole."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from pydantic import JsonValue, ValidationError

from kdumpd.core.armed import Armed
from kdumpd.core.identity import digest_of, growing
from kdumpd.core.inventory import Kind
from kdumpd.core.keeping import Keep, Stored, unneeded, used
from kdumpd.core.problems import Problem, Trouble
from kdumpd.core.storing import UNKNOWN_ROOM, Room, storing_fault
from kdumpd.host.doors import Facts, Files
from kdumpd.host.manifests import Known, Manifest, Manifests, is_at_rest

logger = logging.getLogger(__name__)

FOLDER = "/var/lib/kdumpd"
BASES = "bases"
IMAGES = "images"
PARTS = {BASES: "base.img", IMAGES: "initramfs.img"}
MANIFEST = "description.json"
RECORD = "contents.json"
LAST_GOOD = "last-good.json"
USES = "uses.json"
WORKSHOP = "tmp-"
CHUNK_BYTES = 1 << 20
ALIGNMENT = 4  # where the kernel looks for the next archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """An artefact that is whole, and on the disk, in a folder of its own that only has to be published."""

    part: str
    fingerprint: str
    folder: str
    size_bytes: int
    begins: str  # the digest of its first part
    digest: str  # of all of it


class Store:
    """Bases and images below one private folder; what is damaged is as good as absent.

    Every method that writes raises Trouble: `no-space`, `store-unwritable` or `store-failing`. Publishing waits for
    the disk: call it in a thread.
    """

    def __init__(self, files: Files, *, folder: str = FOLDER) -> None:
        self._files = files
        self.folder = folder
        self._pruning = threading.Lock()
        self._manifests = Manifests(files)
        self._last_good: tuple[Facts, Armed] | None = None  # as it was read last
        self._fresh: tuple[str, Facts] | None = None  # the image that was published last, as it was then

    def bases(self) -> frozenset[str]:
        return self._whole(BASES)

    def images(self) -> frozenset[str]:
        return self._whole(IMAGES)

    def base(self, fingerprint: str) -> str:
        """The path of a base's artefact."""
        return self._artefact(BASES, fingerprint)

    def initramfs(self, fingerprint: str) -> str:
        """The path of an image's artefact: what kexec loads."""
        return self._artefact(IMAGES, fingerprint)

    def base_manifest(self, fingerprint: str) -> Manifest | None:
        return self._manifest(BASES, fingerprint)

    def manifest(self, fingerprint: str) -> Manifest | None:
        return self._manifest(IMAGES, fingerprint)

    def record(self, fingerprint: str) -> bytes | None:
        """What the proof of a base recorded of its contents; None where there is none, or not the one published."""
        found = self.base_manifest(fingerprint)
        try:
            text = self._files.read_bytes(f"{self._entry(BASES, fingerprint)}/{RECORD}")
        except OSError:
            return None
        return text if found is not None and found.record == digest_of(text) else None

    def description(self, fingerprint: str) -> JsonValue:
        """Of what an image was made; None where there is no such image."""
        if self.manifest(fingerprint) is None:
            return None
        return self._manifests.description(f"{self._entry(IMAGES, fingerprint)}/{MANIFEST}")

    def is_sound(self, fingerprint: str) -> bool:
        """Whether an image still is, byte for byte, what was published: reads all of it.

        Not again what was just written, and its digest taken, while nobody has touched it since.
        """
        found = self.manifest(fingerprint)
        try:
            if (
                found is not None
                and (fingerprint, self._files.stat(self.initramfs(fingerprint))) == self._fresh
            ):
                return True
            return found is not None and found.digest == self._files.digest(self.initramfs(fingerprint))
        except OSError:
            return False

    def require_sound(self, last_good: Armed) -> None:
        """Raises Trouble (`image-damaged`) where its image is not, byte for byte, what was published."""
        if not self.is_sound(last_good.image):
            raise Trouble(Problem(code="image-damaged", message="the last good image is damaged"))

    def room(self) -> Room:
        try:
            return Room(
                free_bytes=self._files.free_bytes(self.folder),
                is_read_only=self._files.is_read_only(self.folder),
            )
        except OSError:
            return UNKNOWN_ROOM

    @contextlib.contextmanager
    def workshop(self) -> Iterator[str]:
        """A private folder to build in, of the same file system; gone afterwards, whatever happened."""
        folder = f"{self.folder}/{WORKSHOP}{secrets.token_hex(6)}"
        with self._faults():
            self._files.make_folder(folder, lasts=False)
        try:
            yield folder
        finally:
            self._discard(folder)

    def publish_base(
        self,
        fingerprint: str,
        *,
        built: str,
        description: JsonValue,
        unpacked_bytes: int = 0,
        record: bytes = b"",
    ) -> str:
        """Take `built`, a file in a workshop, as the base of that name; returns its lasting path."""
        with self.workshop() as folder, self._faults():
            joined = self._join((built,), folder=folder, part=BASES, fingerprint=fingerprint)
            return self._publish(
                joined, description=description, unpacked_bytes=unpacked_bytes, record=record
            )

    def join_image(self, fingerprint: str, *, base: str, overlay: str, folder: str) -> Joined:
        """Make one image of the base of fingerprint `base` and the file `overlay`, in `folder`, which is a workshop.

        It may be proved meanwhile. Raises Trouble (`image-damaged`) where the base is not what was published: it is as
        good as absent then.
        """
        source = self.base(base)
        manifest = self.base_manifest(base)
        with self._faults():
            joined = self._join((source, overlay), folder=folder, part=IMAGES, fingerprint=fingerprint)
            if manifest is None or joined.begins != manifest.digest:
                self._files.remove(source)
                raise Trouble(
                    Problem(
                        code="image-damaged", message="the base in the store is damaged; it is built again"
                    )
                )
        return joined

    def publish_image(self, joined: Joined, *, description: JsonValue, unpacked_bytes: int = 0) -> str:
        """Take what was joined, and proved, as the image of its name; returns its lasting path."""
        with self._faults():
            path = self._publish(joined, description=description, unpacked_bytes=unpacked_bytes)
            published = self._files.stat(path)
            self._fresh = (joined.fingerprint, published) if is_at_rest(published) else None
        return path

    def entries(self) -> tuple[Stored, ...]:
        """All that is whole."""
        return tuple(
            Stored(
                part=part,
                fingerprint=fingerprint,
                size_bytes=found.manifest.size_bytes,
                built_us=found.manifest.built_us,
                kernel_release=found.kernel_release,
            )
            for part in PARTS
            for fingerprint in self._names(f"{self.folder}/{part}")
            if (found := self._whole_one(part, fingerprint)) is not None
        )

    def prune(self, keep: Keep) -> tuple[Stored, ...]:
        """Write down what is in use, and remove what need not be kept; what the last good one needs stays as well.

        Gives what was removed.
        """
        last_good = self.last_good()
        if last_good is not None:
            keep = replace(keep, needed=(last_good.base, last_good.image, *keep.needed))
        with self._pruning:
            entries = self.entries()
            before = self._uses()
            uses = used(before, keep.needed, present=(each.fingerprint for each in entries))
            gone = unneeded(entries, uses=uses, keep=keep)
            for each in gone:
                logger.info(
                    "removing %s %s: not needed any more", each.part.removesuffix("s"), each.fingerprint
                )
                self._discard(self._entry(each.part, each.fingerprint))
            if uses != before:
                self._remember_uses(uses)
        return gone

    def sweep(self) -> None:
        """Remove what killed builds left, and what is damaged. Only while nothing is being built."""
        for name in self._names(self.folder):
            if name.startswith(WORKSHOP):
                self._discard(f"{self.folder}/{name}")
        for part in PARTS:
            whole = self._whole(part)
            for name in self._names(f"{self.folder}/{part}"):
                if name not in whole:
                    logger.warning("removing %s/%s: it is not whole", part, name)
                    self._discard(self._entry(part, name))

    def last_good(self) -> Armed | None:
        """The last load that succeeded, in this boot or before, if kernel and image are still there."""
        path = f"{self.folder}/{LAST_GOOD}"
        try:
            facts, before = self._files.stat(path), self._last_good
            if before is None or before[0] != facts:
                before = facts, Armed.model_validate_json(self._files.read_bytes(path))
            self._last_good = before if is_at_rest(facts) else None
            found = before[1]
            there = all(
                self._files.stat(path).kind is Kind.FILE for path in (found.kernel_image, found.initramfs)
            )
        except (OSError, ValidationError, ValueError):
            return None
        return found if there else None

    def remember_good(self, armed: Armed) -> None:
        with self._faults():
            self._files.make_folder(self.folder)
            self._files.write(f"{self.folder}/{LAST_GOOD}", armed.model_dump_json(indent=1).encode())

    def _uses(self) -> tuple[str, ...]:
        """Fingerprints in the order of their last use."""
        try:
            found = json.loads(self._files.read_bytes(f"{self.folder}/{USES}"))
        except (OSError, ValueError):
            return ()
        return tuple(map(str, found)) if isinstance(found, list) else ()

    def _remember_uses(self, uses: tuple[str, ...]) -> None:
        """Where it cannot be written, the order in which things were built has to do."""
        try:
            self._files.write(f"{self.folder}/{USES}", json.dumps(uses).encode())
        except OSError as fault:
            logger.warning("%s cannot be written: %s", f"{self.folder}/{USES}", fault.strerror)

    def _publish(
        self, joined: Joined, *, description: JsonValue, unpacked_bytes: int, record: bytes = b""
    ) -> str:
        if record:
            self._put(f"{joined.folder}/{RECORD}", record)
        manifest = Manifest(
            fingerprint=joined.fingerprint,
            size_bytes=joined.size_bytes,
            digest=joined.digest,
            built_us=time.time_ns() // 1000,
            unpacked_bytes=unpacked_bytes,
            record=digest_of(record) if record else "",
            description=description,
        )
        self._put(f"{joined.folder}/{MANIFEST}", manifest.model_dump_json(indent=1).encode())
        self._files.sync(joined.folder)
        self._files.make_folder(f"{self.folder}/{joined.part}")
        entry = self._entry(joined.part, joined.fingerprint)
        if self._files.exists(entry):
            self._files.rename(entry, f"{joined.folder}.before")
        self._files.rename(joined.folder, entry)
        return self._artefact(joined.part, joined.fingerprint)

    def _put(self, path: str, text: bytes) -> None:
        """A new file in a folder that nobody else sees yet: there is nothing to be renamed over."""
        with self._files.create(path) as file:
            file.write(text)
        self._files.sync(path)

    def _join(self, sources: Iterable[str], *, folder: str, part: str, fingerprint: str) -> Joined:
        """Write the archives one after the other, the next one aligned, into a folder of their own in the workshop.

        Nothing stands behind the last one: the zstd program takes zeros there for a damaged frame.
        """
        beside = f"{folder}/{fingerprint}"
        self._files.make_folder(beside, lasts=False)
        size = 0
        digests: list[str] = []
        digest = growing()
        target = f"{beside}/{PARTS[part]}"
        with self._files.create(target) as file:
            for source in sources:
                padding = bytes(-size % ALIGNMENT)
                for chunk in itertools.chain((padding,), self._chunks(source)):
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                digests.append(digest.hexdigest())
        self._files.sync(target)
        return Joined(
            part=part,
            fingerprint=fingerprint,
            folder=beside,
            size_bytes=size,
            begins=digests[0],
            digest=digests[-1],
        )

    def _chunks(self, path: str) -> Iterator[bytes]:
        with self._files.open(path) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def _whole(self, part: str) -> frozenset[str]:
        names = self._names(f"{self.folder}/{part}")
        return frozenset(name for name in names if self._manifest(part, name) is not None)

    def _manifest(self, part: str, fingerprint: str) -> Manifest | None:
        """Without the description."""
        found = self._whole_one(part, fingerprint)
        return found.manifest if found is not None else None

    def _whole_one(self, part: str, fingerprint: str) -> Known | None:
        entry = self._entry(part, fingerprint)
        try:
            known = self._manifests.read(f"{entry}/{MANIFEST}")
            artefact = self._files.stat(f"{entry}/{PARTS[part]}")
        except (OSError, ValidationError, ValueError):
            return None
        is_whole = (
            artefact.kind is Kind.FILE
            and artefact.size_bytes == known.manifest.size_bytes
            and known.manifest.fingerprint == fingerprint
        )
        return known if is_whole else None

    def _entry(self, part: str, fingerprint: str) -> str:
        return f"{self.folder}/{part}/{fingerprint}"

    def _artefact(self, part: str, fingerprint: str) -> str:
        return f"{self._entry(part, fingerprint)}/{PARTS[part]}"

    def _names(self, folder: str) -> tuple[str, ...]:
        try:
            return self._files.names(folder)
        except OSError as fault:
            logger.warning("%s cannot be read: %s", folder, fault.strerror)
            return ()

    def _discard(self, path: str) -> None:
        """What cannot be removed is left for another day: it is never believed, only in the way."""
        try:
            self._files.remove(path)
        except OSError as fault:
            logger.warning("%s cannot be removed: %s", path, fault.strerror)

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except OSError as fault:
            raise Trouble(storing_fault(fault, self.folder)) from fault
