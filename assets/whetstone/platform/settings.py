"""Every setting, with its default and what it means. Each is the environment variable `WHETSTONE_<NAME>`; `whetstone settings` prints them.

A setting that changes what an asset computes is named in that asset's `uses`, so that changing it makes just that asset stale.
"""

from pathlib import Path

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from whetstone.platform.errors import WhetstoneError

PROJECT = Path(__file__).resolve().parents[3]
"""The repository's root: whetstone is a repository one clones and works in, so `sql/` lies beside the package."""

PAID = ("claude_small", "claude_large")
STAGES = ("cross_encoder", *PAID, "simulated_small", "simulated_large")


class Settings(BaseSettings):
    """Settings of one build, read from the environment and from `.env` in the working directory."""

    model_config = SettingsConfigDict(
        env_prefix="WHETSTONE_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, populate_by_name=True
    )

    home: Path = Field(PROJECT / ".whetstone", description="Where everything that Whetstone makes lies, a folder a source.")
    source: str = Field("demo", description="The source to build: the name of a folder under sql/sources.", pattern=r"^[a-z0-9_]+$")
    data: Path | None = Field(None, description="Folder with the source's files (default: <home>/<source>/files).")
    recipe: str = Field("curriculum", description="Training recipes: names of files under assets/whetstone/recipes, with commas.")
    encoder: str = Field("all-MiniLM-L6-v2", description="Base encoder: a hub name, or a folder with a sentence-transformers model.")
    device: str = Field("auto", description="Where models run: auto, cpu, cuda or cuda:N.")
    seed: int = Field(0, description="Seed of annotators, synthetic queries and the random baseline (a recipe has its own).")

    depth: int = Field(500, ge=1, description="How many products each channel keeps per query ([A] section 3: 500).")
    found_share: float = Field(0.1, gt=0, le=1, description="A channel found what ranks in this share of the category (to `depth`)...")
    found_least: int = Field(20, ge=1, description="...and what ranks among this many.")
    bm25_k1: float = Field(1.2, ge=0, description="BM25 term-frequency saturation.")
    bm25_b: float = Field(0.5, ge=0, le=1, description="BM25 length normalisation.")
    route_neighbours: int = Field(50, ge=1, description="Nearest products that route a query without judgments or engagement.")

    hard_positive_rank: int = Field(50, ge=1, description="A hard positive is this high in a lexical run ([A]: 50).")
    hard_negative_rank: int = Field(100, ge=1, description="A hard negative is this high in its only run ([A]: 100).")
    similar_low: float = Field(0.2, ge=0, le=1, description="Lowest TF-IDF cosine of a token-similar negative ([A]: 0.2).")
    similar_high: float = Field(0.6, ge=0, le=1, description="Highest TF-IDF cosine of a token-similar negative ([A]: 0.6).")
    similar_per_query: int = Field(25, ge=0, description="Token-similar pairs proposed for grading, per query and category.")
    candidates_per_rule: int = Field(
        25, ge=1, description="Pairs to grade: of each tier rule per query and category, and of either half of a hard-sample search."
    )
    positives_per_query: int = Field(50, ge=1, description="Most positives a query keeps in its tiers ([A]: 50).")
    negatives_per_query: int = Field(50, ge=1, description="Most negatives a query keeps in its tiers ([A]: 50).")

    retrain_share: float = Field(
        0.1, ge=0, le=1, description="Training waits until more than this share of what it learns from changed; 0: any change."
    )

    cascade: str = Field(
        "cross_encoder,claude_small,claude_large",
        description="Annotators, cheap to dear: cross_encoder, claude_small, claude_large; simulated_small and _large (demo only).",
    )
    cascade_target: str = Field(
        "paper",
        pattern=r"^(paper|(agreement|cost):(0(\.\d+)?|1(\.0+)?))$",
        description="Thresholds: `paper` ([A2]: 0.85, 0.80, 0.75), `agreement:0.92` at least cost, or best at `cost:0.5` of all-large.",
    )
    annotator_epochs: int = Field(2, ge=1, description="Most epochs of the cross-encoder; it stops early on train queries set aside.")
    annotator_runs: int = Field(3, ge=1, description="Cross-encoders to train, one a seed: they answer together, their spread is reported.")
    calibration_pairs: int = Field(500, ge=1, description="Most human-judged dev pairs that a paid cascade is calibrated on.")
    agreement_floor: float = Field(0.3, ge=0, le=1, description="Agreement with dev judgments under which the calibration check blocks.")
    tier_confidence: float = Field(0.7, ge=0, le=1, description="A graded pair enters a tier only if this likely to be right (a human is).")
    audit_share: float = Field(0.3, ge=0, le=1, description="Share of the graded pairs that is held against engagement ([B]: 0.3).")

    budget_usd: float = Field(0.0, ge=0, allow_inf_nan=False, description="Most dollars that one build may spend; 0 buys nothing.")
    category_budget_usd: float | None = Field(None, ge=0, description="...and most of them on one category.")
    claude_small: str = Field("claude-haiku-5-5", description="Model of the stage claude_small.")
    claude_large: str = Field("claude-opus-5-5", description="Model of the stage claude_large.")
    claude_prices: dict[str, tuple[float, float]] = Field(
        {}, description='Dollars per million input and output tokens of further models, as JSON: {"model": [1, 5]}.'
    )
    claude_batch_from: int = Field(10, ge=1, description="Fewer requests than this are asked at once, at full price, not as a batch.")
    claude_poll_s: float = Field(20.0, gt=0, description="Seconds between two looks at a batch.")
    anthropic_api_key: SecretStr | None = Field(None, validation_alias="ANTHROPIC_API_KEY", description="The key of the paid annotators.")
    anthropic_base_url: str | None = Field(None, validation_alias="ANTHROPIC_BASE_URL", description="Another address of their API.")

    index_dtype: str = Field("bf16", pattern="^(bf16|f16|f32|i8)$", description="USearch scalar type: bf16, f16, f32 or i8.")
    index_connectivity: int = Field(16, ge=2, description="USearch M: edges a node keeps.")
    index_expansion_add: int = Field(512, ge=1, description="USearch candidates looked at when a vector is added.")
    index_expansion_search: int = Field(256, ge=1, description="USearch candidates looked at when searching.")
    index_compact_share: float = Field(
        0.2, ge=0, le=1, description="An index is built from nothing when removals since then exceed this share of its products."
    )
    index_recall_floor: float = Field(0.99, ge=0, le=1, description="Recall@10 against exact search under which the index check blocks.")

    @field_validator("home", "data")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path.expanduser().resolve() if path else None

    @field_validator("cascade")
    @classmethod
    def _known_stages(cls, text: str) -> str:
        names = [name.strip() for name in text.split(",")]
        if unknown := [name for name in names if name not in STAGES]:
            raise ValueError(f"there is no annotator {unknown[0]!r}; choose from {', '.join(STAGES)}")
        if len(set(names)) < len(names):
            raise ValueError("an annotator is there twice")
        return ",".join(names)

    @property
    def stages(self) -> tuple[str, ...]:
        """The cascade's annotators, in order."""
        return tuple(self.cascade.split(","))

    @property
    def can_buy(self) -> bool:
        """Whether a paid annotator of the cascade can be asked: grades are stale when this changes."""
        return self.anthropic_api_key is not None and any(name in PAID for name in self.stages)

    @property
    def root(self) -> Path:
        """Everything of this source: sources never mix."""
        return self.home / self.source

    @property
    def data_dir(self) -> Path:
        """Folder of the source's files."""
        return self.data or self.root / "files"

    @property
    def warehouse_path(self) -> Path:
        """The DuckDB file."""
        return self.root / "warehouse.duckdb"

    @property
    def dagster_home(self) -> Path:
        """Dagster's own storage, shared by the command line, the UI and the daemon."""
        return self.root / "dagster"

    @property
    def sql_dir(self) -> Path:
        """The SQL models and sources."""
        return PROJECT / "sql"


def load_settings() -> Settings:
    """Settings from the environment; WhetstoneError names each variable whose value its setting does not take."""
    try:
        return Settings()  # type: ignore[call-arg]  # every field has a default; pydantic's plugin isn't used
    except SettingsError as error:
        raise WhetstoneError(f'a setting isn\'t usable: {error}; dictionaries are JSON, such as {{"model": [1, 5]}}') from None
    except ValidationError as error:
        lines = [f"  WHETSTONE_{str(e['loc'][0]).upper().removeprefix('WHETSTONE_')}={e['input']!r}: {e['msg']}" for e in error.errors()]
        said = "these settings are not usable; `whetstone settings`, without them, shows what each means:"
        raise WhetstoneError("\n".join([said, *lines])) from None
