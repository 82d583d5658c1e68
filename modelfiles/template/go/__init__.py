"""Go's text/template, the subset that prompt templates use, and how Go formats values.

    text --lexer--> tokens --parser--> nodes --evaluate--> text

The reference is the package documentation of text/template and fmt; tests/modelfiles/template holds every
answer against Go itself. Left out, and refused with a TemplateError: complex numbers, functions and channels
in the data, method calls, other delimiters.
"""
