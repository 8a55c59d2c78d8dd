"""Session engines: set `SESSION_ENGINE` to one of the modules of this package."""
