"""The `sales` command."""
