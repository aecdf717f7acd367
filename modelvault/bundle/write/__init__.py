"""Writing a bundle: what goes in, packed into carriers, signed, published by one rename."""
