"""What every room stands on: settings, warehouse, artifacts, partitions, staleness, SQL models, plots."""
