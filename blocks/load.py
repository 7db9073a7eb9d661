"""Loading a block by its fixed name, typed, with an error that says what to do."""

from typing import TypeVar

from prefect.blocks.core import Block
from pydantic import ValidationError

from blocks.errors import WillNotHeal

Kind = TypeVar("Kind", bound=Block)


def load_block(kind: type[Kind], name: str) -> Kind:
    """Load a block of this kind. Raises WillNotHeal if the Prefect server in use has none of that name."""
    try:
        block = kind.load(name)
    except ValidationError as error:
        # Names of fields only: a value may be a secret.
        fields = ", ".join(str(fault["loc"][0]) for fault in error.errors(include_input=False))
        raise WillNotHeal(
            f"The block '{name}' is of another version ({fields}). Run `sales blocks register`."
        ) from None
    except ValueError:
        raise WillNotHeal(
            f"There is no {kind.__name__} block '{name}'. Run `sales blocks register`."
        ) from None
    assert isinstance(block, kind)
    return block
