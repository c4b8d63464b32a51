"""Which encoder mines and which one serves: a small file outside the graph, so that the graph stays acyclic.

The *incumbent* is the encoder that the current cycle mines with; the *champion* is the one that serves. A promotion moves the
champion; `whetstone cycle` makes the champion the incumbent and so starts the next round.
"""

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


class Registry:
    """The pointers of one source, in `encoders.json`: a state for each base encoder, so that trying another base forgets nothing.

    Every change is one atomic write. Checkpoints are kept as paths below the source's folder, which may be moved or copied.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()  # paths below its folder are stored without it

    def read(self) -> Pointers | None:
        """The pointers of the current base encoder, or None before the first build."""
        return self._states()[0]

    def _states(self) -> tuple[Pointers | None, dict[str, Pointers]]:
        """The current pointers, and those of every base encoder by its version."""
        if not self.path.exists():
            return None, {}
        try:
            states = json.loads(self.path.read_text())
            bases = {version: self._pointers(state) for version, state in states["bases"].items()}
            return bases[states["current"]], bases
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            mend = "restore it, or delete it to start again from the base encoder"
            raise WhetstoneError(f"{self.path} is damaged ({error}); {mend}") from error

    def _pointers(self, state: Mapping[str, Any]) -> Pointers:
        stored = {role: state[role] for role in ("base", "incumbent", "champion")}
        paths = {role: str(self.path.parent / each["path"]) for role, each in stored.items()}  # an absolute path stays itself
        roles = {role: Encoder(each["name"], each["version"], paths[role]) for role, each in stored.items()}
        return Pointers(state["setting"], **roles, cycle=state["cycle"])

    def require(self) -> Pointers:
        """The pointers of a source that was built before."""
        pointers = self.read()
        if pointers is None:
            raise WhetstoneError(f"no encoder is registered in {self.path}; run `whetstone build` first")
        return pointers

    def start(self, setting: str, resolve: Callable[[], Path]) -> Pointers:
        """The pointers for the base encoder that the settings name so; at first everything points to it.

        `resolve` finds its folder; it is called only when the name is a new one or the folder is gone, because it may download a model.
        """
        current, bases = self._states()
        is_known = current is not None and current.setting == setting and Path(current.base.path).is_dir()
        folder = Path(current.base.path) if current and is_known else resolve()
        base = Encoder("base", encoder_version(folder), str(folder))
        wanted = replace(bases.get(base.version, Pointers(setting, base, base, base)), setting=setting, base=base)
        return wanted if wanted == current else self._write(wanted)

    def promote(self, encoder: Encoder) -> Pointers:
        """Make an encoder the champion."""
        pointers = self.require()
        return pointers if encoder.version == pointers.champion.version else self._write(replace(pointers, champion=encoder))

    def next_cycle(self) -> Pointers:
        """Make the champion the incumbent: the next build mines with it; WhetstoneError: it already is, and has mined this cycle."""
        pointers = self.require()
        if pointers.champion.version == pointers.incumbent.version:
            mines = f"the champion ({pointers.champion.name}) already is the mining encoder of cycle {pointers.cycle}"
            raise WhetstoneError(f"{mines}; a new cycle starts when a build has promoted another one")
        return self._write(replace(pointers, incumbent=pointers.champion, cycle=pointers.cycle + 1))

    def _write(self, pointers: Pointers) -> Pointers:
        bases = {**self._states()[1], pointers.base.version: pointers}
        states = {"current": pointers.base.version, "bases": {version: asdict(each) for version, each in bases.items()}}
        folder = f"{self.path.parent}{os.sep}"
        atomic_write(self.path, json.dumps(states, indent=1).replace(json.dumps(folder)[1:-1], ""))
        return pointers


def registry_of(settings: Settings) -> Registry:
    """The registry of the settings' source."""
    return Registry(settings.root / "encoders.json")


def encoder_version(folder: Path) -> str:
    """Version of a sentence-transformers folder: hash of its weights and configuration files. WhetstoneError: it holds no weights."""
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".bin", ".json", ".txt") and p.is_file())
    if not any(p.suffix in (".safetensors", ".bin") for p in files):
        raise WhetstoneError(f"{folder} holds no model weights (*.safetensors); name a sentence-transformers folder in WHETSTONE_ENCODER")
    listing = "".join(f"{p.relative_to(folder)}:{file_sha256(p)}\n" for p in files)
    return f"base-{hashlib.sha256(listing.encode()).hexdigest()[:16]}"
