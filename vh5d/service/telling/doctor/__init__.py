"""What on this machine will bite, and what mends it."""
