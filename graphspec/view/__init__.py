"""A graph to what people read: rows and totals, costs."""
