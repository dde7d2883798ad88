"""Source to version, and back."""
