"""Which encoder mines and which one serves: a small file outside the graph, so that the graph stays acyclic.

The *incumbent* is the encoder that the current cycle mines with; the *champion* is the one that serves. A promotion moves the
champion; `whetstone cycle` makes the champion the incumbent and so starts the next round.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

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
    """The pointers of one source, in `encoders.json`: a state for each base encoder, so that trying another base forgets nothing.

    Every change is one atomic write. Checkpoints are kept as paths below the source's folder, which may be moved or copied.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Pointers | None:
        """The pointers of the current base encoder, or None before the first build."""
        states = self._states()
        return self._pointers(states["bases"][states["current"]]) if states else None

    def _states(self) -> dict[str, Any]:
        if not self.path.exists():
            return {}
        try:
            states: dict[str, Any] = json.loads(self.path.read_text())
            self._pointers(states["bases"][states["current"]])
            return states
        except (ValueError, KeyError, TypeError) as error:
            raise WhetstoneError(
                f"{self.path} is damaged ({error}); restore it, or delete it to start again from the base encoder"
            ) from error

    def _pointers(self, state: Mapping[str, Any]) -> Pointers:
        def encoder(stored: Mapping[str, str]) -> Encoder:
            return Encoder(stored["name"], stored["version"], str(self.path.parent / stored["path"]))  # an absolute path stays itself

        roles = {role: encoder(state[role]) for role in ("base", "incumbent", "champion")}
        return Pointers(state["setting"], **roles, cycle=state["cycle"], previous=tuple(encoder(each) for each in state["previous"]))

    def require(self) -> Pointers:
        """The pointers of a source that was built before."""
        pointers = self.read()
        if pointers is None:
            raise WhetstoneError(f"no encoder is registered in {self.path}; run `whetstone build` first")
        return pointers

    def start(self, setting: str, resolve: Callable[[], Path]) -> Pointers:
        """The pointers for a base encoder; at first everything points to it.

        Args:
            setting: the encoder's name in the settings.
            resolve: finds its folder; called only when the name is a new one or its folder is gone, because it may download a model.
        """
        pointers = self.read()
        is_known = pointers is not None and pointers.setting == setting and Path(pointers.base.path).is_dir()
        folder = Path(pointers.base.path) if pointers and is_known else resolve()
        base = Encoder("base", encoder_version(folder), str(folder))
        if pointers and is_known and pointers.base.version == base.version:
            return pointers
        earlier = self._states().get("bases", {}).get(base.version)
        if earlier:
            return self._write(replace(self._pointers(earlier), setting=setting, base=base))
        return self._write(Pointers(setting, base, base, base))

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
        states = self._states() or {"bases": {}}
        folder = f"{self.path.parent.resolve()}{os.sep}"
        text = json.dumps(asdict(pointers)).replace(json.dumps(folder)[1:-1], "")
        states["current"] = pointers.base.version
        states["bases"][pointers.base.version] = json.loads(text)
        atomic_write(self.path, json.dumps(states, indent=1))
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
