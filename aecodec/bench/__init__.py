"""The benchmark: codecs through one gate of real files, measured, tabulated and shown."""
