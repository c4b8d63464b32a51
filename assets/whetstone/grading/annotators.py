"""The annotator that the settings name, ready to answer. A new annotator is one file and one branch here."""

from __future__ import annotations

import numpy as np
import pandas as pd

from whetstone.catalog.source import Source
from whetstone.grading.annotator import Annotator
from whetstone.grading.cross_encoder import CrossEncoderAnnotator
from whetstone.grading.guideline import Guideline
from whetstone.grading.simulated import SimulatedAnnotator, confusion_of
from whetstone.platform.artifacts import Artifact
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.files import file_sha256
from whetstone.platform.precision import pick_device
from whetstone.platform.settings import Settings


def load_annotator(settings: Settings, guideline: Guideline, source: Source, model: Artifact | None, products: pd.DataFrame) -> Annotator:
    """The annotator of this build; it answers with the levels of `guideline`.

    `model` is the trained cross-encoder where it is the annotator; only the demo's truth looks at `products` (product_id, category_path,
    attributes of the pairs to come).

    Raises:
        WhetstoneError: `cross_encoder` without its model, `simulated` on any source but the demo or without its truth.
    """
    if settings.annotator == "simulated":
        return _simulated(settings, guideline, source, products)
    if model is None:
        raise WhetstoneError("the cross-encoder was not trained yet; run `whetstone build --select cross_encoder`")
    return CrossEncoderAnnotator(model.path, guideline, model.version, pick_device(settings.device))


def _simulated(settings: Settings, guideline: Guideline, source: Source, products: pd.DataFrame) -> SimulatedAnnotator:
    """The annotator that reads the generator's own file; the demo's code is imported where the demo is built, and nowhere else."""
    from whetstone.catalog.demo.truth import grade_pairs

    files = source.files.get("truth")
    if not files:
        raise WhetstoneError(
            f"the annotator 'simulated' refuses '{settings.source}': no truth file in {source.data}; choose another annotator"
        )
    path = files[0]
    intents = pd.read_parquet(path)

    def truth(pairs: pd.DataFrame) -> np.ndarray:
        return grade_pairs(pairs, intents, products)

    confusion = confusion_of(settings.simulated_accuracy, guideline)
    return SimulatedAnnotator(truth, guideline, confusion, seed=settings.seed, source=settings.source, truth_version=file_sha256(path))
