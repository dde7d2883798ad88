"""The versioned store: pools, version trees, images, commits."""
