"""The only place that imports keras, torch, jax, tensorflow and ray: each once its user has imported it."""
