"""Evaluation: metrics, significance, the champion gate and the report."""
