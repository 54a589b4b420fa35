"""The checks of `scoreboard doctor`, a module for each thing that is looked at."""
