"""The layers of Keras, merges among them. Each file holds one family; a new layer edits one file."""
