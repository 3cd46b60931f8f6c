"""Projectors: picture features into the LLM's embedding space."""

from geochat.models.projectors.mlp import IdentityProjector, LinearProjector, MLPProjector

__all__ = ['IdentityProjector', 'LinearProjector', 'MLPProjector']
