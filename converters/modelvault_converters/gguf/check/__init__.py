"""The check of a finished conversion in real llama.cpp."""
