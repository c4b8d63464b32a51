"""The curriculum room: from graded, tiered pairs to the rows that a training stage reads."""
