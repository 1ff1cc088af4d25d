"""How well the coordinates of a latent space follow the factors that made the images."""
