"""What other tools keep on this machine: where their stores lie, and which models are in them. Reads only."""
