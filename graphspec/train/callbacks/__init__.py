"""Callbacks. `settings` needs no torch; the other files implement them."""
