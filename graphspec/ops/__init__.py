"""The functions of `keras.ops` and `keras.random`. Each file holds one family; a new op edits one file."""
