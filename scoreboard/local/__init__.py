"""Runs one mesh on one machine: its servers, services, ports, secrets and the supervisor.

For developers, tests and the demo. It starts services as `python -m NAME` and never imports them.
"""
