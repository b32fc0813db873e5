"""befit's integration with Ray."""
