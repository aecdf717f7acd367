"""Where models come from: a Hub, a list of checksums on a web server, or a folder."""
