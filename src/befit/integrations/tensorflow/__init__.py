"""befit's integration with TensorFlow."""
