"""Claude as annotator: the prompt and its price, the protocol that buys answers once, the annotator around both."""
