"""A list of checksums on a web server as a source: ``SHA256SUMS`` and the files beside it."""
