"""The `befit` command."""
