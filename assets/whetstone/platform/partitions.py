"""The one partition dimension: categories, as slugs, known to Dagster as the dynamic partitions `category`."""

import warnings

import dagster as dg

# Partitioned checks are in preview since 1.13 and pinned; one warning for each of them would bury what matters.
warnings.filterwarnings("ignore", category=dg.PreviewWarning, message=".*partitions_def.*")
warnings.filterwarnings("ignore", category=dg.BetaWarning, message=".*include_sources.*")

CATEGORIES = dg.DynamicPartitionsDefinition(name="category")
