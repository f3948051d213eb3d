"""Many requests from a file to one endpoint, and each answer once into another, whatever happens between."""
