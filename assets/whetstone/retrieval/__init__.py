"""Retrieval room: the channels and their registry, runs, encoding and fusion."""
