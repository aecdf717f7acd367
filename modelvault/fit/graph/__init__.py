"""What llama.cpp computes in: a graph of tensors, and the memory that it takes to hold them."""
