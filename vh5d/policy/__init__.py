"""What to watch and how: YAML to settings."""
