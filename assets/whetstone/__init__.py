"""Whetstone: a declarative data and model repository for product-search retrievers."""

__version__ = "0.1.0"
