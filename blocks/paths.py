"""Which files are for readers. Apart from storage, so that a first look at a file need not import Prefect."""

from pathlib import PurePath


def is_hidden(path: PurePath) -> bool:
    """Say whether a file is not for readers: its name, or a folder's above it, starts with a dot or an underscore."""
    return any(part.startswith((".", "_")) for part in path.parts)
