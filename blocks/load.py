"""Loading a block by its fixed name, typed, with an error that says what to do."""

from typing import TypeVar

from prefect.blocks.core import Block

from blocks.errors import WillNotHeal

Kind = TypeVar("Kind", bound=Block)


def load_block(kind: type[Kind], name: str) -> Kind:
    """Load a block of this kind. Raises WillNotHeal if the Prefect server in use has none of that name."""
    try:
        block = kind.load(name)
    except ValueError:
        raise WillNotHeal(
            f"There is no {kind.__name__} block '{name}'. Run `sales blocks register`."
        ) from None
    assert isinstance(block, kind)
    return block
