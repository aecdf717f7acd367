"""The content-addressed store: blobs named by their sha256, and how bytes get in."""
