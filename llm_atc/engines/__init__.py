"""The engines on this machine: each installed once, in an environment of its own."""
