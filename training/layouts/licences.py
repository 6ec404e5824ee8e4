"""Addresses of Creative Commons licences as the short names that `--without-licence` looks for."""

import re

ADDRESS = re.compile(r"creativecommons\.org/(?:licenses|publicdomain)/([a-zA-Z+-]+)/([\d.]+)")


def licence_name(address: str) -> str:
    """`http://creativecommons.org/licenses/by-nc/3.0/` → `CC BY-NC 3.0`; others stay."""
    found = ADDRESS.search(address)
    if not found:
        return address
    kind, version = found[1].upper(), found[2]
    return f"CC0 {version}" if kind == "ZERO" else f"CC {kind} {version}"
