"""Find the model class for the `kind` of a section, in the tables of the three model folders. Classes are imported when needed."""

import dataclasses
from pkgutil import resolve_name

from genie_tf import dynamics, latent_action, tokenizer
from genie_tf.errors import UserError

TABLES = {"tokenizer": tokenizer.KINDS, "latent_action": latent_action.KINDS, "dynamics": dynamics.KINDS}


def default_kind(section: str) -> str:
    """The first kind of the section's table."""
    return next(iter(TABLES[section]))


def model_class(section: str, kind: str):
    """Import the class of a model.

    Args:
        section: "tokenizer", "latent_action" or "dynamics".
        kind: A kind of this section's table.

    Raises:
        UserError: the table does not contain this kind.
    """
    table = TABLES[section]
    if kind not in table:
        raise UserError(f"{section}.kind {kind}: choose one of {', '.join(table)}")
    return resolve_name(table[kind])


def kinds_with(section: str, field: str) -> list[str]:
    """The kinds that have a setting `field`."""
    return [kind for kind in TABLES[section] if field in (f.name for f in dataclasses.fields(model_class(section, kind).Settings))]
