"""The towers of an encoder: one for both sides, one with a linear head per side, or one per side.

    shared      Transformer, Pooling, [Dense], Normalize                      as it is where no other dimension is asked for
    heads       Transformer, Pooling, Router(query: Dense, document: Dense), Normalize        [B] arXiv 2602.17654, section 6
    asymmetric  Router(query: Transformer, Pooling, [Dense]; document: the same, deep copies), Normalize

Only sentence-transformers' own modules, so `SentenceTransformer(folder)` loads each of them without this package; `encode_query` and
`encode_document` choose the route. A projection starts as the principal directions of the encoder's vectors (uncentred, so that inner
products are what is kept), the same on both sides: training starts as near to the base as the dimension allows.
"""

import copy
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Router

from whetstone.platform.errors import WhetstoneError
from whetstone.retrieval.encode import encode, prompt_of

Kind = Literal["shared", "heads", "asymmetric"]


def kind_of(model: SentenceTransformer) -> Kind:
    """Which towers a model has."""
    if isinstance(model[0], Router):
        return "asymmetric"
    return "heads" if any(isinstance(module, Router) for module in model) else "shared"


def shape_towers(model: SentenceTransformer, kind: Kind, dimensions: int | None, texts: Sequence[str]) -> SentenceTransformer:
    """The model with towers of that kind and vectors of that many dimensions (None: its own); what already fits comes back as it is.

    `texts` are a sample of what will be encoded; a projection to fewer dimensions starts from their vectors. The result takes over the
    model's modules. WhetstoneError: more dimensions than the model has, or other towers than those that it has already.
    """
    own = model.get_embedding_dimension() or 0
    wanted, found = dimensions or own, kind_of(model)
    if wanted > own:
        raise WhetstoneError(f"the encoder has {own} dimensions, {wanted} are asked for: ask for at most {own}")
    if found != "shared" and (found, own) != (kind, wanted):
        has = f"the encoder already has {found} towers of {own} dimensions"
        raise WhetstoneError(f"{has}, {kind} ones of {wanted} are asked for: ask for what it has, or start from another encoder")
    if found == kind and wanted == own:
        return model
    model.truncate_dim = None  # a projection takes its place
    weight = _directions(model, wanted, texts)
    body = list(model)[: -1 if isinstance(model[-1], Normalize) else None]

    def project() -> Dense:
        return Dense(weight.shape[1], wanted, bias=False, activation_function=None, init_weight=weight.clone())

    if kind == "shared":
        modules = [*body, project()]
    elif kind == "heads":
        modules = [*body, Router.for_query_document([project()], [project()])]
    else:
        tower = [*body, project()] if wanted < weight.shape[1] else body
        modules = [Router.for_query_document(tower, copy.deepcopy(tower))]
    return SentenceTransformer(
        modules=[*modules, Normalize()],
        device=str(model.device),
        prompts=model.prompts,
        default_prompt_name=model.default_prompt_name,
        similarity_fn_name=model.similarity_fn_name,
    )


def router_mapping(model: SentenceTransformer, columns: Sequence[str]) -> dict[str, str]:
    """The route of each text column, for the trainer's `router_mapping`: of queries for `query`, else of documents; {} without routes."""
    return {} if kind_of(model) == "shared" else {column: "query" if column == "query" else "document" for column in columns}


def column_prompts(model: SentenceTransformer, columns: Sequence[str]) -> dict[str, str]:
    """The prompt of each text column that has one, for the trainer's `prompts`: the same as when its texts are encoded."""
    prompts = {column: prompt_of(model, "query" if column == "query" else "product") for column in columns}
    return {column: prompt for column, prompt in prompts.items() if prompt}


def _directions(model: SentenceTransformer, wanted: int, texts: Sequence[str]) -> torch.Tensor:
    """Orthonormal rows (wanted, d): right singular vectors of the texts' vectors (n, d), largest values first; identity for all d."""
    width = model.get_embedding_dimension() or 0
    if wanted == width:
        return torch.eye(width)
    vectors = encode(model, texts).astype(np.float64)
    # From the (d, d) product, so that fewer texts than dimensions still give a whole basis.
    _, directions = np.linalg.eigh(vectors.T @ vectors)
    return torch.tensor(directions[:, ::-1][:, :wanted].T.copy(), dtype=torch.float32)
