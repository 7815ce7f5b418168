"""Training. `config` has the settings and needs no torch; everything else here does."""
