"""Go's text/template, the subset that prompt templates use, and how Go formats values.

    text --lexer--> tokens --pipelines, parser--> nodes --evaluate--> text

The reference is the package documentation of text/template and fmt; tests/modelfiles/template holds every
answer against Go itself (`make compat`), with Debian's Go 1.19. Where later versions differ and Ollama is
built with one of those, this is the later one: `range $i, $x = ...` sets the variables that it names,
JSON has \\b and \\f (1.22). `else with` (1.23) and ranges over integers (1.24) are not here yet.

Refused with a TemplateError, though Go takes them: complex numbers, functions and channels in the data,
method calls, printing addresses, and what passes a limit: 80 blocks or 30 parentheses inside each other
(parser), and `Limits` while it runs.
"""
