"""Names of what every bundle has on its medium, whatever its layout."""

from modelvault.core.medium import BUNDLE_FOLDER, PUBLISHER_KEY

FOLDER = BUNDLE_FOLDER
STAGING_FOLDER = f"{FOLDER}.partial"
"""Where a bundle is written before it is published; never read as a bundle."""
FORMER_FOLDER = f"{FOLDER}.old"
"""Where a bundle stands while another replaces it; never read as a bundle."""

INDEX = "index.json"
SIGNATURE = "index.sig"
PUBLISHER = PUBLISHER_KEY
MODEL_SIGNATURES = "model-signatures.json"
"""Signatures over the models, which no signature of the bundle covers: each is its own proof."""

SIGNATURE_LIMIT = 1024 * 1024
"""Largest envelope that is read, in bytes."""
PUBLISHER_LIMIT = 64 * 1024
"""Largest file of public keys that is read, in bytes."""
MODEL_SIGNATURES_LIMIT = 16 * 1024 * 1024
"""Largest file of signatures over models that is read, in bytes."""
