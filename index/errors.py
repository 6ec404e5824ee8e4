"""What can go wrong with an index."""

from m2d_clap.model.errors import ClapError


class LibraryIndexError(ClapError):
    """An index that is missing, damaged, or made with another checkpoint."""


class IndexUnreachableError(LibraryIndexError):
    """The service that holds the index does not answer, or refuses."""


class IndexBusyError(LibraryIndexError):
    """Something else is writing to the index just now."""
