"""befit's integration with PyTorch."""
