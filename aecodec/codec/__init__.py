"""Pictures to .aec bytes and back, and what can be said of a file from its header."""
