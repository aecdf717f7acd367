"""Reading a bundle: found, opened, verified, then checked or received into a store."""
