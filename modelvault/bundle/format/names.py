"""Names of what every bundle has on its medium, whatever its layout."""

FOLDER = "modelvault-bundle"
STAGING_FOLDER = "modelvault-bundle.partial"
"""Where a bundle is written before it is published; never read as a bundle."""
FORMER_FOLDER = "modelvault-bundle.old"
"""Where a bundle stands while another replaces it; never read as a bundle."""

INDEX = "index.json"
SIGNATURE = "index.sig"
PUBLISHER = "publisher.pem"
