"""``fit``: whether a model fits into the memory of a GPU, before a pull and on what is stored."""
