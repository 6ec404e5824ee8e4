"""Addresses as they may be shown."""

import re

_ACCOUNT = re.compile(r"//.*@", re.DOTALL)


def without_account(address: str) -> str:
    """All up to the last @ is left out, as a password may hold any sign that nobody escaped."""
    return _ACCOUNT.sub("//", address)
