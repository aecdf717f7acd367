"""Convert Hugging Face checkpoints to GGUF."""
