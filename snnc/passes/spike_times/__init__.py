"""From a trained network to neurons that fire at most once (TTFSFormer, spec 4)."""
