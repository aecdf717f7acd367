"""Names on a medium that more than one room looks for."""

BUNDLE_FOLDER = "modelvault-bundle"
"""Folder of a medium that holds one bundle."""
PUBLISHER_KEY = "publisher.pem"
"""File of the publisher's public key, or keys, in that folder."""
