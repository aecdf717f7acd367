"""What is calibrated and measured with: text, and the tokens the model makes of it."""
