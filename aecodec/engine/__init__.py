"""What computes a codec's networks: one protocol over NumPy arrays, and the engines that keep it."""
