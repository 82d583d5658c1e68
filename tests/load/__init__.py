"""Many processes on one store at once: nothing is lost and nothing is left (`make load`)."""
