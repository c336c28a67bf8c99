"""Learned painters: diffusion and GAN, their conditions, their training and how their checkpoint is chosen."""
