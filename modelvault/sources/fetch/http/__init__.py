"""The engine of our own: ranged HTTP over several connections."""
