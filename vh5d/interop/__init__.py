"""Files of versioned-hdf5: moved to our format in place, imported, exported."""
