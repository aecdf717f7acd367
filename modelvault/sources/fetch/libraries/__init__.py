"""Libraries that fetch, each in a process of its own: opt-in, and never trusted more."""
