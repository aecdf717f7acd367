"""Heavy format converters; each runs in a child process of its own."""
