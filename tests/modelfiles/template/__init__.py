"""Templates, held against Go."""
