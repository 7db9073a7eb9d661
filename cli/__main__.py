"""`python -m cli` is the `sales` command."""

from cli.app import main

main()
