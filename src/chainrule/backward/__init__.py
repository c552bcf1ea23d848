"""The backward pass. ``chain_rule`` is the heart of the house; open it first."""

from chainrule.backward.chain_rule import chain_rule

__all__ = ["chain_rule"]
