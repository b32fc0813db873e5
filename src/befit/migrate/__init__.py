"""Rewrites scripts for Keras 2 so that they run on Keras 3 with befit, without ``befit.keras2``."""

from befit.migrate.migration import Migration, Remark, migrate_source

__all__ = ["Migration", "Remark", "migrate_source"]
