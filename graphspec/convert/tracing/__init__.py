"""Keras models with code of their own as models of Keras' layers and functions alone (trace.py, which runs
the code once; finishing.py), and what there is to know and to change of live models (live.py, symbolic.py).
Keras is imported inside of functions.
"""
