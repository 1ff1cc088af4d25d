"""Client of Latens, the latent space server."""
