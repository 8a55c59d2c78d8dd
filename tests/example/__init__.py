"""The example project, driven as a visitor drives it."""
