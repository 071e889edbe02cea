"""How results are shown: the table, the reasons, the one-sentence answer."""
