"""Shared by all tests: an encoder small enough to train in seconds, and a demo shop that was built once from end to end."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from whetstone.platform.settings import Settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
for name in [name for name in os.environ if name.startswith("WHETSTONE_") and name != "WHETSTONE_ESCI_DIR"]:
    del os.environ[name]  # a developer's own settings must not reach the tests


@dataclass
class Shop:
    """A source with its home: settings, and what the command line would use to build it."""

    settings: Settings

    @property
    def instance(self) -> dg.DagsterInstance:
        from whetstone.project import dagster_instance

        return dagster_instance(self.settings)

    def builder(self):
        from whetstone.project import open_builder

        return open_builder(self.settings)

    def warehouse(self):
        from whetstone.platform.warehouse import Warehouse

        return Warehouse(database=str(self.settings.warehouse_path))

    def copy(self, home: Path) -> Shop:
        """The same shop in another home, so that a test can break it."""
        shutil.copytree(self.settings.home, home)
        return Shop(self.settings.model_copy(update={"home": home, "data": None}))


@pytest.fixture(scope="session")
def mini_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer BERT over characters, as an ordinary sentence-transformers folder."""
    import string

    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    root = tmp_path_factory.mktemp("mini")
    characters = string.ascii_lowercase + string.digits
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{c}" for c in characters), "|", ">", "."]
    (root / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 128}
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(root / "bert")
    BertTokenizer(str(root / "vocab.txt")).save_pretrained(root / "bert")
    model = SentenceTransformer(modules=[Transformer(str(root / "bert")), Pooling(32, "mean")], device="cpu")
    model.save_pretrained(str(root / "encoder"), create_model_card=False)
    return root / "encoder"


@pytest.fixture(scope="session")
def built_shop(tmp_path_factory: pytest.TempPathFactory, mini_encoder: Path) -> Shop:
    """A demo shop of three categories, built from raw files to report and index. Read it; break only copies."""
    from whetstone.catalog.demo.generate import generate

    home = tmp_path_factory.mktemp("home")
    settings = Settings(
        home=home,
        source="demo",
        encoder=str(mini_encoder),
        depth=60,
        candidates_per_rule=8,
        similar_per_query=4,
        annotator_epochs=1,
        cascade="cross_encoder,simulated_small,simulated_large",
        annotator_runs=1,
        index_dtype="f32",
    )
    generate(settings.data_dir, products=240, queries=60, categories=3, seed=1)
    shop = Shop(settings)
    outcome = shop.builder().run()
    assert not outcome.failed and not outcome.held_back, outcome.failed
    return shop
