"""Where plans run. Only here is SkyPilot imported, inside functions."""
