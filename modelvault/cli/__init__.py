"""The command line: parse, one call into ``app``, render."""
