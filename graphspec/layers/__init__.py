"""What Keras has a layer for, merges among them. A file is a family; adding a layer edits one file."""
