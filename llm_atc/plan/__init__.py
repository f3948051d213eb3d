"""What should run: pure values and decisions, without files, clock, environment or network."""
