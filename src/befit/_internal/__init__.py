"""What several rooms need: adapters to integrations, optional imports, settings, progress."""
