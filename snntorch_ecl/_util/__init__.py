"""Small helpers that know nothing of networks: checks, batches, files, tables, processes."""
