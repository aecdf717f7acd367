"""The pure core: values and decisions, with no disk, network, clock or database."""
