"""Approximate search over product vectors: one USearch shard per category, searched together."""
