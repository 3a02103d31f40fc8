"""Find the class for the `kind` of a section, in the tables of five folders. Classes are imported when needed.

The section `record` names its kind in the field `source`. A field of a section may have kinds itself: `tokenizer.quantizer`.
"""

import dataclasses
from pkgutil import resolve_name

from genie_tf import dynamics, episodes, latent_action, tokenizer
from genie_tf.errors import UserError
from genie_tf.layers import quantizers
from genie_tf.quiet import quiet

TABLES = {
    "record": episodes.SOURCES, "tokenizer": tokenizer.KINDS, "latent_action": latent_action.KINDS, "dynamics": dynamics.KINDS,
    "quantizer": quantizers.KINDS,
}  # fmt: skip


def kind_field(section: str) -> str:
    """Name of the field that names the kind."""
    return "source" if section == "record" else "kind"


def default_kind(section: str) -> str:
    """The first kind of the section's table."""
    return next(iter(TABLES[section]))


def class_of(section: str, kind: str):
    """Import the class of a model, or of a source of frames.

    Args:
        section: "record", "tokenizer", "latent_action", "dynamics" or "quantizer".
        kind: A kind of this section's table.

    Raises:
        UserError: the table does not contain this kind.
    """
    table = TABLES[section]
    if kind not in table:
        raise UserError(f"{section}.{kind_field(section)} {kind}: choose one of {', '.join(table)}")
    with quiet():
        return resolve_name(table[kind])


def kinds_with(section: str, field: str) -> list[str]:
    """The kinds that have a setting `field`."""
    return [kind for kind in TABLES[section] if field in (f.name for f in dataclasses.fields(class_of(section, kind).Settings))]
