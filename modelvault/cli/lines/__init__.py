"""How results read for people."""
