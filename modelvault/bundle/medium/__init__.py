"""What both writing and reading ask of a medium: mounts, bounded reads, faults of carriers."""
