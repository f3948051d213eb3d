"""How to say a plan: as a SkyPilot task, or as a command of this machine. Pure text and values."""
