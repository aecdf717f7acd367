"""Whether a model fits: its shape, what each runtime needs for it, what a GPU has."""
