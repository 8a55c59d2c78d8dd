"""The pure layers: field map, codec, names, operations."""
