"""What Dagster hands to assets and checks besides the warehouse, as they annotate it."""

from typing import TypeAlias

import dagster as dg

from whetstone.platform.artifacts import Artifacts
from whetstone.platform.settings import Settings

Context: TypeAlias = dg.AssetExecutionContext
WithSettings: TypeAlias = dg.ResourceParam[Settings]
WithArtifacts: TypeAlias = dg.ResourceParam[Artifacts]
