"""The command line of lorid-edge: one module a command, `main` builds the program."""
