"""Zero points of sites: where neurons may see x - m, and what then restores the network."""
