"""The model to convert: its files, its family, and its layers as transformers computes them."""
