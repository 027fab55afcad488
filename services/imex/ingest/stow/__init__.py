"""STOW-RS in: the HTTP listener that the portal hands store transactions on to."""
