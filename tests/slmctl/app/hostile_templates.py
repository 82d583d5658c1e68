"""Templates that want to harm whoever renders them, and what is said of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TIME = r"computes for more than"
MEMORY = r"needs more memory"
LONG = r"writes more than 4 MiB"
CLOSED = r"reaches for what is closed"
DEEP = r"nested too deeply, or calls itself"


@dataclass(frozen=True)
class Hostile:
    """`says` is a pattern of the sentence; a template that is made harmless has its `text` instead."""

    name: str
    template: str
    says: str = ""
    text: str | None = None


_ENDLESS = "{% for a in range(100000) %}{% for b in range(100000) %}BODY{% endfor %}{% endfor %}"
_MACRO = "{% macro f(x) %}BODY{% endmacro %}{{ f(1) }}"

CORPUS: Final = (
    # the six of the design
    Hostile("attribute-escape", "{{ cycler.__init__.__globals__.os.popen('id').read() }}", CLOSED),
    Hostile("endless-range", "{% for i in range(10**12) %}x{% endfor %}", r"Range too big"),
    Hostile("long-string", "{{ ('a'*300000000)|length }}", MEMORY),
    Hostile("large-power", "{{ 9**(9**7) }}", TIME),
    Hostile("recursion", _MACRO.replace("BODY", "{{ f(x) }}"), DEEP),
    Hostile("modulo-zero", "{{ 1 % 0 }}", r"modulo by zero"),
    Hostile("gigabyte", _ENDLESS.replace("BODY", "a" * 1000), LONG),
    # time
    Hostile("endless-loops", _ENDLESS.replace("BODY", ""), TIME),
    Hostile("slices", "{% for s in messages|slice(10**10) %}{% endfor %}", TIME),
    Hostile(
        "branching-recursion", _MACRO.replace("BODY", "{% if x<60 %}{{f(x+1)}}{{f(x+1)}}{% endif %}"), TIME
    ),
    Hostile("tower-of-powers", "{{ 7**(7**(7**7)) }}", TIME),
    Hostile(
        "sorting", "{% for i in range(9999) %}{% set x = range(99999)|map('string')|sort %}{% endfor %}", TIME
    ),
    Hostile("joining", "{{ range(99999)|map('tojson')|sum(start=0) }}", r"TypeError"),
    Hostile(
        "word-wrap",
        "{% for i in range(99999) %}{% set x = (('a '*100000) ~ i)|wordwrap(1) %}{% endfor %}",
        TIME,
    ),
    Hostile("lorem", "{% for i in range(99999) %}{% set x = lipsum(n=1000 + i) %}{% endfor %}", TIME),
    # memory
    Hostile(
        "doubling",
        "{% set n = namespace(s='a') %}{% for i in range(40) %}{% set n.s = n.s + n.s %}{% endfor %}",
        MEMORY,
    ),
    Hostile("percent-width", "{{ ('%1000000000d' % 1)|length }}", MEMORY),
    Hostile("format-width", "{{ '{:>1000000000}'.format(1)|length }}", MEMORY),
    Hostile("centred", "{{ 'x'|center(1000000000)|length }}", MEMORY),
    Hostile("zeros", "{{ '1'.zfill(1000000000)|length }}", MEMORY),
    Hostile("replaced", "{{ ('a'*10000).replace('a', 'b'*100000)|length }}", MEMORY),
    Hostile("lists", "{{ ([1]*1000000000)|length }}", MEMORY),
    Hostile("indented-json", "{{ [[[[[[[[1]]]]]]]]|tojson(indent=500000000)|length }}", MEMORY),
    Hostile("decimals", "{{ '%.1000000000f' % 1.5 }}", r"fails|memory"),
    # output
    Hostile(
        "captured-output", _MACRO.replace("BODY", _ENDLESS.replace("BODY", "a" * 10000)), f"{TIME}|{MEMORY}"
    ),
    Hostile("digits", "{{ 10**5000 }}", r"4300 digits"),
    Hostile("controls", r"{{ '\u0001' * 4000000 }}", LONG),
    Hostile("half-surrogate", r"{{ '\ud800' }}", r"half of a surrogate"),
    # depth, for the lexer, the parser, Jinja's compiler and Python's
    Hostile("open-parentheses", "{{ " + "(" * 100_000, DEEP),
    Hostile("nested-lists", "{{ " + "[" * 500 + "]" * 500 + " }}", DEEP),
    Hostile(
        "nested-loops", "{% for x in [1] %}" * 100 + "{% endfor %}" * 100, r"nested too deeply|too many|fails"
    ),
    Hostile("nots", "{{ " + "not " * 100_000 + "1 }}", DEEP),
    Hostile("recursive-loop", "{% for x in [1] recursive %}{{ loop([x]) }}{% endfor %}", DEEP),
    # ways out
    Hostile("subclasses", "{{ ''.__class__.__mro__[1].__subclasses__() }}", CLOSED),
    Hostile("attr-filter", "{{ (''|attr('__class__')).__mro__ }}", CLOSED),
    Hostile("function-globals", "{{ strftime_now.__globals__['os'] }}", CLOSED),
    Hostile("method-globals", "{{ messages[0].get.__self__.__class__.__base__ }}", CLOSED),
    Hostile("format-attribute", "{{ '{0.__class__.__init__.__globals__}'.format(cycler) }}", CLOSED),
    Hostile("indirect-format", "{% set f = '{0.__class__}'.format %}{{ f(1) }}", text=""),
    Hostile("filtered-format", "{{ (['{0.__class__}']|map('attr', 'format')|list)[0](1) }}", text=""),
    Hostile(
        "mapped-attribute", "{{ ['']|map(attribute='__class__')|map(attribute='__mro__')|list }}", CLOSED
    ),
    Hostile("generator-frame", "{{ (messages|map('length')).gi_frame.f_globals }}", CLOSED),
    Hostile("changed-message", "{{ messages.append(messages) }}", CLOSED),
    Hostile("file", "{% include '/etc/passwd' %}", r"wants another file"),
    Hostile("module", "{% import 'os' as os %}{{ os.getcwd() }}", r"wants another file"),
    Hostile("class-alone", "{{ ''.__class__ }}", text=""),
    Hostile("builtins", "{{ __builtins__ }}{{ open }}{{ self._TemplateReference__context }}", text=""),
)
