"""The contracts of ``befit.typing`` as test kits: inherit a class, provide a fixture, get all its tests."""
