"""For tests of what you keep in stores: disks that fail, machines that lose power."""
