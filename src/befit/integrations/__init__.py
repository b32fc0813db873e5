"""The only place that imports keras, torch, jax, tensorflow and ray; each module once its framework is in use."""
