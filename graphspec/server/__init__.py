"""What an editor asks while a spec is written, by the language server protocol: `graphspec server`.

`protocol.py` speaks it, by pygls. All else works on texts and offsets: what a text means (analysis.py), where
its names are declared and read (symbols.py), where the cursor is, also in a text that is half typed
(cursor.py), and what can be written (completion.py) or said (hover.py) there.
"""
