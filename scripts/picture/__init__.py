"""Pictures of what the programs really did, as SVG."""
