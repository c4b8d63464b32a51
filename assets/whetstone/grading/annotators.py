"""The annotator that the settings name, ready to answer. A new annotator is one file and one branch here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from whetstone.catalog.source import Source
from whetstone.grading.annotator import Annotator
from whetstone.grading.cross_encoder import CrossEncoderAnnotator
from whetstone.grading.guideline import Guideline
from whetstone.grading.simulated import SimulatedAnnotator, confusion_of
from whetstone.platform.artifacts import Artifact
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.precision import pick_device
from whetstone.platform.settings import Settings


def load_annotator(settings: Settings, guideline: Guideline, source: Source, model: Artifact | None, products: pd.DataFrame) -> Annotator:
    """The annotator of this build.

    Args:
        settings: `annotator` names it.
        guideline: the levels it answers with.
        source: the source being built.
        model: the trained cross-encoder, where it is the annotator.
        products: product_id, category_path, attributes of the pairs to come; only the demo's truth looks at them.

    Raises:
        WhetstoneError: `cross_encoder` without its model, or `simulated` on any source but the demo.
    """
    if settings.annotator == "simulated":
        confusion = confusion_of(settings.simulated_accuracy, guideline)
        truth = _demo_truth(source, products)
        return SimulatedAnnotator(truth, guideline, confusion, seed=settings.seed, source=settings.source)
    if model is None:
        raise WhetstoneError("the cross-encoder was not trained yet; run `whetstone build --select cross_encoder`")
    return CrossEncoderAnnotator(model.path, guideline, model.version, pick_device(settings.device))


def _demo_truth(source: Source, products: pd.DataFrame) -> Callable[[pd.DataFrame], np.ndarray]:
    """True grades of pairs of the demo shop, from the generator's own file."""

    def truth(pairs: pd.DataFrame) -> np.ndarray:
        from whetstone.catalog.demo.truth import grade_pairs

        return grade_pairs(pairs, pd.read_parquet(source.files["truth"][0]), products)

    return truth
