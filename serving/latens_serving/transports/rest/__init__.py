"""Pictures and numbers over plain HTTP, and Hugging Face's remote VAE: no stubs, no protobuf."""
