"""The command line: each command parses, calls one function, shows the result."""
