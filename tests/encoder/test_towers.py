"""Towers: the library alone loads what is saved, training starts at the base, sides are told apart, contradictions are refused."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Dense, Router, StaticEmbedding

from whetstone.encoder.towers import Kind, column_prompts, kind_of, router_mapping, shape_towers
from whetstone.platform.errors import WhetstoneError
from whetstone.retrieval.encode import encode

KINDS: list[Kind] = ["shared", "heads", "asymmetric"]
CASES = list(product(["tiny", "static"], KINDS, [None, 8]))
TEXTS = [f"{kind} {thing}" for kind in ("red", "blue", "green", "black") for thing in ("shoe", "mug", "lamp")]
COLUMNS = ["query", "product", "negative_1"]
ROWS = [{"query": "red shoe", "product": "shoe red", "negative_1": "mug blue"}, {"query": "lamp", "product": "lamp", "negative_1": "knife"}]

LOAD = """
import sys
sys.modules["whetstone"] = None  # an import of it fails
import numpy as np
from sentence_transformers import SentenceTransformer
out, texts, *folders = sys.argv[1:]
models = [SentenceTransformer(folder, device="cpu") for folder in folders]
np.save(out, np.array([np.hstack([m.encode_query(texts.split(",")), m.encode_document(texts.split(","))]).sum(1) for m in models]))
"""


@pytest.fixture(scope="session")
def bases(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A transformer and a static encoder of its vocabulary; 32 dimensions each."""
    torch.manual_seed(0)
    tokenizer = SentenceTransformer(str(tiny_encoder), device="cpu").tokenizer
    static = tmp_path_factory.mktemp("static")
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=32)], device="cpu")
    model.save_pretrained(str(static), create_model_card=False)
    return {"tiny": tiny_encoder, "static": static}


def load(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu")


def both(model: SentenceTransformer) -> list[np.ndarray]:
    return [np.asarray(vectors) for vectors in (model.encode_query(TEXTS), model.encode_document(TEXTS))]


def train(model: SentenceTransformer, steps: int = 2) -> None:
    """A few steps on `ROWS`, their columns routed as the trainer does it."""
    collate = SentenceTransformerDataCollator(model.preprocess, router_mapping=router_mapping(model, COLUMNS), max_length=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        features, labels = SentenceTransformerTrainer.collect_features(None, collate(ROWS))
        optimizer.zero_grad()
        MultipleNegativesRankingLoss(model)(features, labels).backward()
        optimizer.step()


def test_the_library_alone_loads_every_kind_after_training(bases: dict[str, Path], tmp_path: Path) -> None:
    expected, folders = [], []
    for base, kind, dimensions in CASES:
        model = shape_towers(load(bases[base]), kind, dimensions, TEXTS)
        train(model)
        folders.append(str(tmp_path / f"{base}-{kind}-{dimensions}"))
        model.save_pretrained(folders[-1], create_model_card=False)
        queries, products = both(model)
        assert np.allclose(queries, products) == (kind == "shared")
        assert queries.shape == (len(TEXTS), dimensions or 32)
        expected.append(np.hstack([queries, products]).sum(1))
    subprocess.run([sys.executable, "-c", LOAD, str(tmp_path / "out.npy"), ",".join(TEXTS), *folders], check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-5)


@pytest.mark.parametrize("base", ["tiny", "static"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dimensions", [None, 32])
def test_with_its_own_dimensions_an_encoder_starts_as_it_was(base: str, kind: Kind, dimensions: int | None, bases: dict[str, Path]) -> None:
    model = load(bases[base])
    before = model.encode(TEXTS, normalize_embeddings=True)
    shaped = shape_towers(model, kind, dimensions, TEXTS)
    assert kind_of(shaped) == kind
    assert (shaped is model) == (kind == "shared")
    for side in ("query", "product"):
        np.testing.assert_allclose(np.sum(encode(shaped, TEXTS, side) * before, axis=1), 1, atol=1e-3)  # bf16 against fp32
    for vectors in both(shaped):
        np.testing.assert_allclose(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), before, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [3, len(TEXTS)])
def test_a_projection_starts_as_the_best_of_its_rank_on_both_sides(kind: Kind, count: int, bases: dict[str, Path]) -> None:
    vectors = encode(load(bases["tiny"]), TEXTS[:count]).astype(np.float64)
    shaped = shape_towers(load(bases["tiny"]), kind, 8, TEXTS[:count])
    weights = [module.linear.weight.detach().double().numpy() for module in shaped.modules() if isinstance(module, Dense)]
    assert len(weights) == (1 if kind == "shared" else 2)
    for weight in weights:
        np.testing.assert_allclose(weight @ weight.T, np.eye(8), atol=1e-6)  # also with fewer texts than dimensions
        lost = np.linalg.norm(vectors - vectors @ weight.T @ weight)
        assert lost == pytest.approx(np.linalg.norm(np.linalg.svd(vectors, compute_uv=False)[8:]), abs=1e-5)  # Eckart, Young
    queries, products = both(shaped)
    np.testing.assert_array_equal(queries, products)
    assert shape_towers(load(bases["tiny"]), kind, 8, TEXTS[:count]).encode(TEXTS).tolist() == products.tolist()


def test_sides_learn_apart_and_a_shared_part_stays_one(bases: dict[str, Path]) -> None:
    heads, apart = (shape_towers(load(bases["tiny"]), kind, None, TEXTS) for kind in ("heads", "asymmetric"))
    for model, is_trained in ((heads, True), (apart, True), (shape_towers(load(bases["tiny"]), "heads", None, TEXTS), False)):
        if is_trained:
            train(model)
        (router,) = (module for module in model if isinstance(module, Router))
        query, document = (list(router.sub_modules[side].parameters()) for side in ("query", "document"))
        assert len(query) == len(document) > 0
        assert not {id(weight) for weight in query} & {id(weight) for weight in document}
        assert all(torch.equal(a, b) for a, b in zip(query, document, strict=True)) != is_trained
    assert sum(1 for _ in apart.parameters()) == 2 * len(list(load(bases["tiny"]).parameters()))
    assert sum(1 for _ in heads.parameters()) == len(list(load(bases["tiny"]).parameters())) + 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_trainer_sees_what_encode_sees(kind: Kind, bases: dict[str, Path]) -> None:
    model = load(bases["tiny"])
    model.prompts |= {"query": "for ", "passage": "women "}
    model = shape_towers(model, kind, 8, TEXTS)
    train(model)
    routes, prompts = router_mapping(model, COLUMNS), column_prompts(model, COLUMNS)
    assert routes == ({} if kind == "shared" else {"query": "query", "product": "document", "negative_1": "document"})
    assert prompts == {"query": "for ", "product": "women ", "negative_1": "women "}
    batch = SentenceTransformerDataCollator(model.preprocess, router_mapping=routes, prompts=prompts)(ROWS)
    features, _ = SentenceTransformerTrainer.collect_features(None, batch)
    model.eval()
    for column, feature in zip(COLUMNS, features, strict=True):
        vectors = model(feature)["sentence_embedding"].detach().numpy()
        seen = encode(model, [row[column] for row in ROWS], "query" if column == "query" else "product")
        np.testing.assert_allclose((vectors * seen).sum(1), 1, atol=1e-3)  # bf16 against fp32
    assert column_prompts(load(bases["tiny"]), COLUMNS) == {}


def test_the_next_cycle_takes_shaped_towers_as_they_are_and_refuses_others(bases: dict[str, Path]) -> None:
    for kind, dimensions in product(KINDS, [None, 8]):
        model = shape_towers(load(bases["tiny"]), kind, dimensions, TEXTS)
        assert shape_towers(model, kind, dimensions, TEXTS) is model
        assert shape_towers(model, kind, None, TEXTS) is model
        with pytest.raises(WhetstoneError, match=f"has {dimensions or 32} dimensions, 64 are asked for"):
            shape_towers(model, kind, 64, TEXTS)
        for other in KINDS if kind != "shared" else []:
            with pytest.raises(WhetstoneError, match=f"already has {kind} towers of {dimensions or 32} dimensions, {other} ones of 4"):
                shape_towers(model, other, 4, TEXTS)
        if kind != "shared":
            with pytest.raises(WhetstoneError, match="start from another encoder"):
                shape_towers(model, "shared", None, TEXTS)
    assert shape_towers(shape_towers(load(bases["tiny"]), "shared", 8, TEXTS), "heads", 4, TEXTS).get_embedding_dimension() == 4


def test_a_chosen_dimension_replaces_a_truncation(bases: dict[str, Path]) -> None:
    model = load(bases["tiny"])
    model.truncate_dim = 16
    shaped = shape_towers(model, "heads", None, TEXTS)
    assert encode(shaped, TEXTS, "query").shape == (len(TEXTS), 16)
