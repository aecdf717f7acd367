"""How good a result is: sequences on their way through source and result."""
