"""Windows over time: the order of a long table's rows (timeline.py), and examples that are views of them
(views.py, examples.py).
"""
