"""Which encoder mines and which one serves: a small file outside the graph, so that the graph stays acyclic.

The *incumbent* is the encoder that the current cycle mines with; the *champion* is the one that the index is made for. A promotion moves
the champion, a rollback moves it back; `whetstone cycle` makes the champion the incumbent and so starts the next round.

What `whetstone search` serves is a *shard set*: one encoder, and what was made by it. It changes as one, when a complete set is published,
so that a promotion and the rebuild that follows it neither mix two encoders nor interrupt the service.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from whetstone.platform.errors import WhetstoneError
from whetstone.platform.files import atomic_write, exclusive, file_sha256
from whetstone.platform.settings import Settings

KEPT = 2
"""Previous champions that can serve again: their checkpoints, sets and vectors outlive `whetstone gc`, and evaluation scores them."""


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
    previous: tuple[Encoder, ...] = ()  # champions before this one, the last first
    rejected: tuple[str, ...] = ()  # versions that were rolled back: the gate promotes none of them again

    @property
    def line(self) -> tuple[Encoder, ...]:
        """The champion and those before it, the last first."""
        return self.champion, *self.previous


@dataclass(frozen=True)
class ShardSet:
    """What serves together: an encoder, and the names (`kind/version`) of the artifacts made by it."""

    encoder: Encoder
    thresholds: str
    shards: Mapping[str, str]  # by category
    products: Mapping[str, str]  # version of staging.products that each shard was made from


@dataclass(frozen=True)
class State:
    """All that the file holds."""

    current: str  # version of the base encoder whose pointers count
    bases: Mapping[str, Pointers]
    sets: tuple[ShardSet, ...] = ()  # the first one serves; one for each encoder that may serve again

    @property
    def encoders(self) -> dict[str, Encoder]:
        """Every encoder that serves, mines or may do so again, by version."""
        found = [each for pointers in self.bases.values() for each in (pointers.base, pointers.incumbent, *pointers.line)]
        return {each.version: each for each in [*found, *(shard_set.encoder for shard_set in self.sets[:1])]}

    def with_pointers(self, pointers: Pointers) -> "State":
        """The same with these as the current pointers."""
        return replace(self, current=pointers.base.version, bases={**self.bases, pointers.base.version: pointers})

    def serving(self, shard_set: ShardSet) -> "State":
        """The same with this set in service."""
        return replace(self, sets=(shard_set, *(each for each in self.sets if each.encoder.version != shard_set.encoder.version)))


class Registry:
    """The pointers of one source, in `encoders.json`: a state for each base encoder, so that trying another base forgets nothing.

    Every change is one atomic write. Checkpoints are kept as paths below the source's folder, which may be moved or copied.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()  # paths below its folder are stored without it

    def read(self) -> Pointers | None:
        """The pointers of the current base encoder, or None before the first build."""
        return state.bases[state.current] if (state := self.state()) else None

    def state(self) -> State | None:
        """All that is known, or None before the first build; WhetstoneError: the file is damaged."""
        if not self.path.exists():
            return None
        try:
            stored = json.loads(self.path.read_text())
            bases = {version: self._pointers(state) for version, state in stored["bases"].items()}
            sets = tuple(ShardSet(**{**each, "encoder": self._encoder(each["encoder"])}) for each in stored.get("sets", ()))
            return State(bases[stored["current"]].base.version, bases, sets)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            mend = "restore it, or delete it to start again from the base encoder"
            raise WhetstoneError(f"{self.path} is damaged ({error}); {mend}") from error

    def _pointers(self, stored: Mapping[str, Any]) -> Pointers:
        roles = {role: self._encoder(stored[role]) for role in ("base", "incumbent", "champion")}
        previous = tuple(self._encoder(each) for each in stored.get("previous", ()))
        return Pointers(stored["setting"], **roles, cycle=stored["cycle"], previous=previous, rejected=tuple(stored.get("rejected", ())))

    def _encoder(self, stored: Mapping[str, str]) -> Encoder:
        return Encoder(stored["name"], stored["version"], str(self.path.parent / stored["path"]))  # an absolute path stays itself

    def require(self) -> Pointers:
        """The pointers of a source that was built before; WhetstoneError: it never was."""
        state = self.require_state()
        return state.bases[state.current]

    def require_state(self) -> State:
        """All that is known of a source that was built before; WhetstoneError: it never was."""
        if (state := self.state()) is None:
            raise WhetstoneError(f"no encoder is registered in {self.path}; run `whetstone build` first")
        return state

    def start(self, setting: str, resolve: Callable[[], Path]) -> Pointers:
        """The pointers for the base encoder that the settings name so; at first everything points to it.

        `resolve` finds its folder; it is called only when the name is a new one or the folder is gone, because it may download a model.
        """
        current = self.read()
        is_known = current is not None and current.setting == setting and Path(current.base.path).is_dir()
        folder = Path(current.base.path) if current and is_known else resolve()
        base = Encoder("base", encoder_version(folder), str(folder))

        def change(state: State) -> State:
            known = state.bases.get(base.version, Pointers(setting, base, base, base))
            return state.with_pointers(replace(known, setting=setting, base=base))

        return self._change(change, State(base.version, {}))

    def promote(self, encoder: Encoder) -> Pointers:
        """Make an encoder the champion; the one before it can serve again (`roll_back`)."""

        def change(pointers: Pointers) -> Pointers:
            line = [each for each in pointers.line if each.version != encoder.version]
            return replace(pointers, champion=encoder, previous=tuple(line[:KEPT]))

        return self._move(change)

    def roll_back(self, to: Encoder, shard_set: ShardSet | None) -> Pointers:
        """Make a previous champion the champion again and its set (None: it has none) serve, in one step; those after it are rejected."""

        def change(state: State) -> State:
            pointers = state.bases[state.current]
            at = pointers.line.index(to)
            rejected = dict.fromkeys([*pointers.rejected, *(each.version for each in pointers.line[:at])])
            back = replace(pointers, champion=to, previous=pointers.line[at + 1 :], rejected=tuple(rejected))
            return (state.serving(shard_set) if shard_set else state).with_pointers(back)

        return self._change(change)

    def next_cycle(self) -> Pointers:
        """Make the champion the incumbent: the next build mines with it; WhetstoneError: it already is, and has mined this cycle."""

        def change(pointers: Pointers) -> Pointers:
            if pointers.champion.version == pointers.incumbent.version:
                mines = f"the champion ({pointers.champion.name}) already is the mining encoder of cycle {pointers.cycle}"
                raise WhetstoneError(f"{mines}; a new cycle starts when a build has promoted another one")
            return replace(pointers, incumbent=pointers.champion, cycle=pointers.cycle + 1)

        return self._move(change)

    def publish(self, shard_set: ShardSet) -> None:
        """Let a complete set serve, in one atomic write."""
        self._change(lambda state: state.serving(shard_set))

    def _move(self, change: Callable[[Pointers], Pointers]) -> Pointers:
        return self._change(lambda state: state.with_pointers(change(state.bases[state.current])))

    def _change(self, change: Callable[[State], State], first: State | None = None) -> Pointers:
        """Replace the state by what it is changed to; two processes change it one after the other."""
        with exclusive(self.path.with_suffix(".lock")):
            before = self.state() or first or self.require_state()
            after = change(before)
            able = {each.version for pointers in after.bases.values() for each in pointers.line}
            after = replace(after, sets=after.sets[:1] + tuple(each for each in after.sets[1:] if each.encoder.version in able))
            if after != before:
                folder = f"{self.path.parent}{os.sep}"
                atomic_write(self.path, json.dumps(asdict(after), indent=1).replace(json.dumps(folder)[1:-1], ""))
        return after.bases[after.current]


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
