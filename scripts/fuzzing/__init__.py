"""Files of every kind mutated, checksums made right again, and every outcome held to a law: one module a kind."""

from __future__ import annotations

from importlib import import_module

from .law import Law

#: Kind -> module and class of its law.
LAWS = {
    "aec": ("aec", "AecLaw"),
    "overfitted": ("overfitted", "OverfittedLaw"),
    "hix": ("hix", "HixLaw"),
    "checkpoint": ("checkpoint", "CheckpointLaw"),
    "state": ("state", "StateLaw"),
    "pack": ("pack", "PackLaw"),
    "metadata": ("metadata", "MetadataLaw"),
    "picture": ("picture", "PictureLaw"),
}


def law_of(kind: str) -> type[Law]:
    """The law of a kind. Its module is imported here: a kind may need a package that another does not."""
    module, name = LAWS[kind]
    law: type[Law] = getattr(import_module(f"{__name__}.{module}"), name)
    return law
