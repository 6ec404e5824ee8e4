"""Label lists as package data."""
