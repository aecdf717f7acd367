"""The converter for vLLM: AWQ (4-bit weights) and FP8 folders out of safetensors."""
