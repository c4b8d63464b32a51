"""The annotators that the settings name, ready to answer, cheapest first. A new annotator is one file and one branch here."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pandas as pd

from whetstone.catalog.source import Source
from whetstone.grading.annotator import Annotator
from whetstone.grading.claude.annotator import NO_KEY, ClaudeAnnotator
from whetstone.grading.claude.api import Api
from whetstone.grading.claude.cost import PRICES, price_of
from whetstone.grading.claude.intents import Limits
from whetstone.grading.claude.prompt import Prompt
from whetstone.grading.claude.purchase import Desk
from whetstone.grading.claude.queries import WRITER, QueryPrompt
from whetstone.grading.cross_encoder import CrossEncoderAnnotator
from whetstone.grading.guideline import Guideline
from whetstone.grading.ledger import Entry, Ledger
from whetstone.grading.simulated import SimulatedAnnotator, confusion_of
from whetstone.platform.artifacts import Artifact
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.files import file_sha256
from whetstone.platform.precision import pick_device
from whetstone.platform.settings import PAID, Settings

SIMULATED = {"simulated_small": (0.86, 0.0001), "simulated_large": (0.93, 0.002)}  # share right, pretended dollars a pair


class Room(NamedTuple):
    """What annotators need: the build's settings, whose books, and where the trained cross-encoder and the products are."""

    settings: Settings
    guideline: Guideline
    source: Source
    ledger: Ledger
    entry: Entry
    cross_encoder: Artifact | None  # perhaps one without a model (no train judgments)
    products: Callable[[], pd.DataFrame]  # product_id, category_path, attributes of all pairs to come; only the demo's truth looks at it
    synthetic: pd.DataFrame | None = None  # query_id, facts of synthetic queries to be graded; the same


def open_annotators(room: Room) -> tuple[list[Annotator], list[str]]:
    """The cascade's annotators in order, and in words why one of them is left out or can't be asked anything new.

    WhetstoneError: `simulated_...` on any source but the demo or without its truth; a model without a price.
    """
    opened: list[Annotator] = []
    warnings: list[str] = []
    for name in room.settings.stages:
        if name in PAID:
            opened.append(_claude(name, getattr(room.settings, name), Prompt(room.guideline), room))
            warnings += [] if room.settings.can_buy else [f"{name}: {NO_KEY}"]
        elif name in SIMULATED:
            opened.append(_simulated(name, room))
            warnings.append(f"{name} stands in for a paid model: its errors are declared, its dollars pretended")
        elif room.cross_encoder is None or "absent" in room.cross_encoder.facts:
            warnings.append(f"{name}: {room.cross_encoder.facts['absent'] if room.cross_encoder else 'it was not trained yet'}")
        else:
            model, device = room.cross_encoder, pick_device(room.settings.device)
            opened.append(CrossEncoderAnnotator(model.path, room.guideline, model.version, device))
    return opened, warnings


def open_writer(room: Room) -> ClaudeAnnotator | None:
    """Who writes synthetic queries: the small Claude model; None where no stage is paid, or one is simulated (whose truth needs facts)."""
    stages = set(room.settings.stages)
    return _claude(WRITER, room.settings.claude_small, QueryPrompt(), room) if stages & set(PAID) and not stages & set(SIMULATED) else None


def _claude(name: str, model: str, prompt: Prompt, room: Room) -> ClaudeAnnotator:
    settings, key = room.settings, room.settings.anthropic_api_key
    price = price_of(model, {**PRICES, **settings.claude_prices})
    desk = None
    if key:
        api, most_usd = Api(key.get_secret_value(), settings.anthropic_base_url), settings.category_budget_usd
        limits = Limits(settings.budget_usd, float("inf") if most_usd is None else most_usd)
        lock, batch_from = settings.root / "purchases.lock", settings.claude_batch_from
        desk = Desk(api, room.ledger, room.entry, limits, lock, batch_from=batch_from, poll_s=settings.claude_poll_s)
    return ClaudeAnnotator(name, model, price, prompt, room.ledger, desk)


def _simulated(name: str, room: Room) -> SimulatedAnnotator:
    """An annotator that reads the generator's own file; the demo's code is imported where the demo is built, and nowhere else."""
    from whetstone.catalog.demo.truth import grade_pairs, intents_of

    settings, files = room.settings, room.source.files.get("truth")
    if settings.source != "demo" or not files:
        why = f"it grades the demo alone, from the truth file, and none such is in {room.source.data}"
        raise WhetstoneError(f"the annotator '{name}' refuses '{settings.source}': {why}; WHETSTONE_CASCADE names others")
    intents, products = pd.read_parquet(files[0]), room.products()
    if room.synthetic is not None:
        intents = pd.concat([intents, intents_of(room.synthetic)])

    truth = partial(grade_pairs, intents=intents, products=products)
    (accuracy, cost_usd), version = SIMULATED[name], file_sha256(files[0])
    confusion = confusion_of(accuracy, room.guideline)
    return SimulatedAnnotator(name, truth, room.guideline, confusion, cost_usd=cost_usd, seed=settings.seed, truth_version=version)
