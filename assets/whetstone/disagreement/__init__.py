"""Disagreement room: what the channels find in common, and the candidates that no channel finds."""
