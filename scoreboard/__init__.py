"""Scoreboard: the Python client (`scoreboard.client`), the CLI, and the contract's stubs (`scoreboard.v1`)."""
