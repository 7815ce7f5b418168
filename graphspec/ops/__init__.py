"""What `keras.ops` and `keras.random` have. A file is a family; adding an op edits one file."""
