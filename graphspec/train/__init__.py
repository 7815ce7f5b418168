"""Training: `config` says what a spec may ask for, and needs no torch; everything else here does."""
