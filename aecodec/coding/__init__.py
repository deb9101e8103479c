"""Exact integers and bytes: probability tables, the entropy coder and the .aec container."""
