"""The format as values: index, rules, codecs, layouts; no I/O (``docs/formats/bundle.md``)."""
