"""What the results look like: types, packings and files that servers read."""
