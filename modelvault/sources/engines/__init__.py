"""Ways to bring a file's bytes that are not our own HTTP: opt-in, and never trusted more."""
