"""Making images: anatomies, the randomised generator, sampling."""
