"""befit's integration with JAX."""
