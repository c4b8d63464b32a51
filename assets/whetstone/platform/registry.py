"""Which encoder mines and which one serves: a small file outside the graph, so that the graph stays acyclic.

The *incumbent* is the encoder that the current cycle mines with; the *champion* is the one that serves. A promotion moves the
champion; `whetstone cycle` makes the champion the incumbent and so starts the next round.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from whetstone.platform.errors import WhetstoneError
from whetstone.platform.files import atomic_write, file_sha256
from whetstone.platform.settings import Settings


@dataclass(frozen=True)
class Encoder:
    """An encoder that can be loaded: `name` as the report calls it, `version` of its weights, `path` of its folder."""

    name: str
    version: str
    path: str


@dataclass(frozen=True)
class Pointers:
    """State of the cycle; `setting` is the name that the base encoder was asked for by."""

    setting: str
    base: Encoder
    incumbent: Encoder
    champion: Encoder
    cycle: int = 1
    previous: tuple[Encoder, ...] = ()


class Registry:
    """The pointers of one source, in `encoders.json`; every change is one atomic write."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Pointers | None:
        """The pointers, or None before the first build."""
        if not self.path.exists():
            return None
        try:
            state = json.loads(self.path.read_text())
            encoders = {role: Encoder(**state[role]) for role in ("base", "incumbent", "champion")}
            return Pointers(state["setting"], **encoders, cycle=state["cycle"], previous=tuple(Encoder(**e) for e in state["previous"]))
        except (ValueError, KeyError, TypeError) as error:
            raise WhetstoneError(
                f"{self.path} is damaged ({error}); restore it, or delete it to start again from the base encoder"
            ) from error

    def require(self) -> Pointers:
        """The pointers of a source that was built before."""
        pointers = self.read()
        if pointers is None:
            raise WhetstoneError(f"no encoder is registered in {self.path}; run `whetstone build` first")
        return pointers

    def start(self, setting: str, resolve: Callable[[], Path]) -> Pointers:
        """The pointers; at first, and whenever the base encoder is another one, everything points to the base.

        Args:
            setting: the encoder's name in the settings.
            resolve: finds its folder; called only when the name is a new one, because that may load or download a model.
        """
        pointers = self.read()
        folder = Path(pointers.base.path) if pointers and pointers.setting == setting else resolve()
        version = encoder_version(folder)
        if pointers and pointers.base.version == version:
            return pointers if pointers.setting == setting else self._write(replace(pointers, setting=setting))
        base = Encoder("base", version, str(folder))
        previous = (*pointers.previous, pointers.champion) if pointers else ()
        return self._write(Pointers(setting, base, base, base, previous=previous))

    def promote(self, encoder: Encoder) -> Pointers:
        """Make an encoder the champion."""
        pointers = self.require()
        if encoder.version == pointers.champion.version:
            return pointers
        return self._write(replace(pointers, champion=encoder, previous=(*pointers.previous, pointers.champion)))

    def next_cycle(self) -> Pointers:
        """Make the champion the incumbent: the next build mines with it.

        Raises:
            WhetstoneError: the champion already is the incumbent, so a new cycle would mine what this one has mined.
        """
        pointers = self.require()
        if pointers.champion.version == pointers.incumbent.version:
            raise WhetstoneError(
                f"the champion ({pointers.champion.name}) already is the mining encoder of cycle {pointers.cycle}; "
                "a new cycle starts when a build has promoted another one"
            )
        return self._write(replace(pointers, incumbent=pointers.champion, cycle=pointers.cycle + 1))

    def _write(self, pointers: Pointers) -> Pointers:
        atomic_write(self.path, json.dumps(asdict(pointers), indent=1))
        return pointers


def registry_of(settings: Settings) -> Registry:
    """The registry of the settings' source."""
    return Registry(settings.root / "encoders.json")


def encoder_version(folder: Path) -> str:
    """Version of a sentence-transformers folder: hash of its weights and configuration files.

    Raises:
        WhetstoneError: the folder holds no weights.
    """
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".bin", ".json", ".txt") and p.is_file())
    if not any(p.suffix in (".safetensors", ".bin") for p in files):
        raise WhetstoneError(f"{folder} holds no model weights (*.safetensors); name a sentence-transformers folder in WHETSTONE_ENCODER")
    listing = "".join(f"{p.relative_to(folder)}:{file_sha256(p)}\n" for p in files)
    return f"base-{hashlib.sha256(listing.encode()).hexdigest()[:16]}"
