"""Bulk work as a guest of Ray Data: folders and datasets of paths compressed and hashed by the workers of a cluster."""

from .datasets import compress, hash

__all__ = ["compress", "hash"]
