"""What is done to the graph of a program once it is elaborated, and what is found out of it."""
