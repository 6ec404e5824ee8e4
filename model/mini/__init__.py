"""The bundled checkpoint `m2d-clap-mini` (package data)."""
