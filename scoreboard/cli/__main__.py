"""`python -m scoreboard.cli`: the same as `scoreboard`, whatever is on the PATH."""

from scoreboard.cli import main

main()
