"""What results look like: one description of each, shown as text in a terminal or REPL and as HTML in a notebook.

blocks.py     what a display is made of: lines, tables, names with their values
text.py       blocks to text of a width, in which no name, id or key is ever cut
html.py       blocks to HTML that reads well on light and on dark pages
displayed.py  the base of results that display themselves
"""
