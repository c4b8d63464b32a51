"""The demo shop: a generated catalog whose relevance is known by construction."""
