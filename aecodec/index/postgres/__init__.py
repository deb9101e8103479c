"""An index that is a table of a PostgreSQL database with pgvector: pushed there, and searched there."""
