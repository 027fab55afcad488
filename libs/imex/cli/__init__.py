"""The `imex` command."""
