"""Callbacks: `settings` says what a spec may ask for, and needs no torch; the rest is what they do."""
