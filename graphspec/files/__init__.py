"""Files: those that a run writes, which stay in its directory, and how files of others are opened."""
