"""Small helpers without knowledge of networks: checks, batches, files, tables, processes."""
