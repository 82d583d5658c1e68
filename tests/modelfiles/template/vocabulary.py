"""What generated templates are made of.

In CALLS `<string>` stands for an argument of the kind, `<any>` for one of any kind, `<any+>` for
one to three of them, `<0-3>` for a number, `<.ints>` for that field.
"""

from __future__ import annotations

FIELDS = {
    "string": ["s", "empty", "unicode", "markup", "lines", "map.a", "map.sub.k"],
    "int": ["n", "neg", "zero"],
    "float": ["f", "tiny", "huge", "million", "map.b"],
    "bool": ["yes", "no"],
    "list": ["list", "words", "ints", "none", "map.sub.deep.er"],
    "map": ["map", "nothing", "map.sub", "map.sub.deep"],
    "nil": ["null", "missing", "map.nil", "map.sub.missing"],
}
KINDS = list(FIELDS)

# the fields of the records, by what they are called here
PARTS = {
    "message": ["Role", "Content", "Thinking", "ToolCalls", "ToolName", "ToolCallID"],
    "call": ["ID", "Function.Name", "Function.Index", "Function.Arguments"],
    "tool": ["Type", "Function.Name", "Function.Description", "Function.Parameters.Required"],
    "property": ["Type", "Description", "Enum", "AnyOf", "Items"],
}

CALLS = {
    "string": [
        *("print <any+>", "println <any+>", "html <any+>", "js <any+>", "urlquery <any+>", "json <any>"),
        *("slice <string> <0-3>", "slice <string> 0 <0-6>", 'index <.map> "a"', "toTypeScriptType <any>"),
        *("currentDate", 'currentDate "x"', "yesterdayDate", "printf", "printf", "printf"),
    ],
    "int": ["len <string>", "len <list>", "len <map>", "index <string> <0-2>", "index <.ints> <0-3>"],
    "bool": [
        *("not <any>", "eq <nil> <any>", "and <any+>", "or <bool+>", "eq <any> <any>", "lt <any> <any>"),
        *("eq <string> <string+>", "eq <int> <int+>", "ne <string> <string>", "ne <float> <float>"),
        *("lt <int> <int>", "le <string> <string>", "gt <float> <float>", "ge <int> <int>"),
        *("le <float> <float>", "gt <string> <string>", "ge <bool> <bool>"),
    ],
    "float": ["or <float> <float>", "and <float> <float>", "index <.list> 0"],
    "list": [
        *("slice <list> <0-2>", "slice <list> 0 <0-3>", "slice <list> 1 <1-3>", "slice <list> 0 1 <1-3>"),
        *("or <nil> <list>", "index <.list> 4"),
    ],
    "map": ["and <bool> <map>", 'index <.map> "sub"'],
    "nil": ["or <any+>", "and <any+>", 'index <map> "nope"'],
}

STAGES = ["print", "len", "not", 'printf "%v"', "html", "js", "urlquery", "json", "println 1", "and 1"]

LITERALS = {
    "string": ['"a"', '"é\\n\\"\\x41\\u00e9"', "`raw \\n`", '""', '"\\xff\\101"', "`a\r\nb`", '"<&>"'],
    "int": [
        *("0", "1", "-3", "+4", "0x1F", "0b101", "0o17", "017", "1_000", "'a'", "'\\n'", "'é'", "-0xe"),
        *("9223372036854775807",),
    ],
    "float": ["1.5", ".5", "2.", "1e3", "-1E-7", "0x1p-2", "123456789.0", "1_0.2_5"],
    "bool": ["true", "false"],
    "nil": ["$.missing", "$.null", "($.null).x"],
}
WRONG = ["9223372036854775808", "08", "1e400", "$.null.x", "nil", '"\\z"', "18446744073709551616", "nosuch"]

VERBS = {"string": "sqxXv", "int": "dxXobcqUv", "float": "feEgGFvxb", "bool": "tv"}
ANY_VERB = "vsdqxXtfTceUobOwGzy"

TEXTS = [" ", "\n", "a", "Z9", "\t", "é✓", "{", "}", "}}", '"', " x \n", "<|im|>", "\r\n", "-", "\\n"]
COMMENTS = ["{{/* c */}}", "{{- /* c\n*/ -}}", "{{/**/ -}}", "{{- /* {{ */}}"]
SPOILERS = [*"{}()|.$\"`'-,:= \n", "{{", "}}", "/*", "end", "{{end}}", "é"]
