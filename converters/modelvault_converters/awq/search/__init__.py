"""AWQ: what to scale, what to fold that into, and how to round."""
