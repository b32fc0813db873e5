"""befit's integration with Keras 3."""
