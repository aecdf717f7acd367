"""Keys, signatures, and the policy that decides whom to believe."""
