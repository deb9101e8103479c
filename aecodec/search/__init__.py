"""Pictures to codes to an index to hits: building and syncing, queries, duplicates, and the gallery that shows them."""
