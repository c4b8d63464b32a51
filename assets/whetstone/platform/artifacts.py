"""Artifacts: checkpoints, vectors and indexes as content-addressed folders with a manifest.

A folder `artifacts/<kind>/<version>/` is named by a hash of what it was made from (inputs, settings, seed), because weights
and indexes are not bit-stable. It is written beside its place and renamed; `artifact.json` holds the SHA-256 of every file,
and a seal of its own; opening an artifact verifies them. Making an artifact that is there and whole costs nothing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whetstone.platform.errors import WhetstoneError
from whetstone.platform.files import atomic_folder, file_sha256

if TYPE_CHECKING:
    import pandas as pd

MANIFEST = "artifact.json"


@dataclass(frozen=True)
class Artifact:
    """An artifact that is on disk and verified; `facts` are what its maker measured."""

    kind: str
    version: str
    path: Path
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """`kind/version`, by which a materialisation remembers it."""
        return f"{self.kind}/{self.version}"


class Artifacts:
    """The artifacts of one source."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def make(
        self, kind: str, inputs: Mapping[str, Any], build: Callable[[Path], Mapping[str, Any] | None], *, anew: bool = False
    ) -> Artifact:
        """Return the artifact of these inputs, building it only if it isn't there whole, or is wanted `anew`.

        `inputs` are the JSON values that decide the content: input versions, settings, seed, code version. `build` fills an empty folder
        and returns facts to remember (JSON values), such as a dev curve.
        """
        version = fingerprint(kind, inputs)
        if anew or self.damage(f"{kind}/{version}"):
            with atomic_folder(self.root / kind / version) as folder:
                facts = dict(build(folder) or {})
                files = {str(p.relative_to(folder)): file_sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}
                versions = {name: package_version(name) for name in ("torch", "sentence-transformers", "usearch")}
                manifest = {"kind": kind, "version": version, "inputs": inputs, "versions": versions, "files": files, "facts": facts}
                manifest = json.loads(json.dumps(manifest))
                (folder / MANIFEST).write_text(json.dumps(manifest | {"seal": fingerprint(manifest)}, indent=1, sort_keys=True))
        return self.open(f"{kind}/{version}")

    def damage(self, name: str) -> str | None:
        """What is wrong with the artifact `kind/version`, in words, or None if every file is as its manifest says."""
        path = self.root / name
        if not path.is_dir():
            return f"{path} is missing"
        try:
            manifest = json.loads((path / MANIFEST).read_text())
            seal, files = manifest.pop("seal", None), manifest["files"]
            if seal and seal != fingerprint(manifest):  # older artifacts have none
                raise ValueError("it was changed since it was written")
        except (OSError, ValueError, KeyError) as error:
            return f"{path / MANIFEST} cannot be read ({error})"
        for file, expected in ((path / name, expected) for name, expected in files.items()):
            if not file.is_file():
                return f"{file} is missing"
            if _sha256(file, (state := file.stat()).st_size, state.st_mtime_ns, state.st_ino) != expected:
                return f"{file} is damaged (its SHA-256 is not the manifest's)"
        return None

    def drop_category(self, category: str) -> None:
        """Remove every artifact whose inputs name the category; manifests go last, so that the next call ends what a kill cut off."""
        for manifest in self.root.glob(f"[!.]*/[!.]*/{MANIFEST}"):
            with suppress(ValueError):  # a manifest that is damaged names nobody
                if json.loads(manifest.read_text())["inputs"].get("category") == category:
                    for file in manifest.parent.rglob("*"):
                        if file.is_file() and file != manifest:
                            file.unlink()
                    shutil.rmtree(manifest.parent)

    def open(self, name: str) -> Artifact:
        """Open `kind/version` after verifying every file; WhetstoneError: it is missing or damaged (the message names the file)."""
        if problem := self.damage(name):
            raise WhetstoneError(f"artifact {name} is not usable: {problem}. Run `whetstone build`: it makes it anew.")
        kind, version = name.split("/")
        path = self.root / name
        return Artifact(kind, version, path, json.loads((path / MANIFEST).read_text())["facts"])


@lru_cache(maxsize=10_000)
def _sha256(path: Path, size: int, mtime_ns: int, inode: int) -> str:
    """Hash of a file, once in a process for each state of it."""
    return file_sha256(path)


def fingerprint(*parts: Any) -> str:
    """First 32 hex digits of the SHA-256 of JSON values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def frame_version(frame: pd.DataFrame) -> str:
    """Content hash of a frame: its rows in their order, by column name."""
    return fingerprint(frame.to_json(orient="split", index=False, force_ascii=False))
