"""The language server: answers an editor while a spec is written, `graphspec server`.

`protocol.py` speaks the protocol, by pygls. All else works on texts and offsets: the meaning of a text
(analysis.py), where its names are declared and read (symbols.py), where the cursor is, also in a text that is
half typed (cursor.py), completions (completion.py) and explanations (hover.py) there.
"""
