"""Procedural sounds: seeded, captioned clips made by plain signal processing."""
