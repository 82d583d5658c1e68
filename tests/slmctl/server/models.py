"""The models that the tests' server has: hello, one that says nonsense for ever, and some that know tools."""

from __future__ import annotations

from pathlib import Path

from tests.gguf_copies import write_copy
from tests.slmctl.cli.program import Program
from tools.random_model import write_random_model
from tools.random_projector import write_random_projector
from tools.random_reranker import write_random_reranker

HELLO = "hello"
TINY = "tiny"
"""Random words of 0.8 MB that never end by themselves; it has no chat template."""
TOOLS = "tools"
"""Hello's weights with a Jinja template that knows tools, so that the engine's own parser does."""
GO_TOOLS = "go-tools"
"""Hello's weights with an Ollama TEMPLATE that knows tools, so that slmctl parses the calls."""
THINKER = "thinker"
"""Hello's weights with a Jinja template that begins each answer with thoughts, unless there are to be none."""
RANKER = "my/ranker"
"""A reranker whose scores mean nothing, under a name with a slash in it."""

SEER = "seer"
"""Random words about pictures: what it says depends on them, and means nothing."""

_JINJA = """\
{%- if tools %}
{{- '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
{{- 'You may call these functions:\\n<tools>' }}
{%- for tool in tools %}{{- '\\n' + (tool | tojson) }}{%- endfor %}
{{- '\\n</tools>\\nFor each call return JSON within tags:\\n<tool_call>\\n{"name": <name>, "arguments": <args>}\\n' }}
{{- '</tool_call><|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}
{{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}
{%- elif message.role == 'assistant' and message.tool_calls %}
{{- '<|im_start|>assistant\\n' }}
{%- if message.content %}{{- message.content + '\\n' }}{%- endif %}
{%- for call in message.tool_calls %}
{%- set function = call.function if call.function else call %}
{{- '<tool_call>\\n{"name": "' + function.name + '", "arguments": ' }}
{{- function.arguments if function.arguments is string else (function.arguments | tojson) }}
{{- '}\\n</tool_call>\\n' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- elif message.role != 'system' %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

_THINKING = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' and message.reasoning_content %}
{{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}
{%- endif %}
{{- message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n<think>\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{- '\\n</think>\\n\\n' }}{% endif %}
{%- endif %}
"""

_GO = '''\
TEMPLATE """{{- if or .System .Tools }}<|im_start|>system
{{ .System }}
{{- if .Tools }}

# Tools
<tools>
{{- range .Tools }}
{"type": "function", "function": {{ .Function }}}
{{- end }}
</tools>
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>
{{- end }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if .Content }}{{ .Content }}
{{- else if .ToolCalls }}<tool_call>
{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{ end }}</tool_call>
{{- end }}{{ if not $last }}<|im_end|>
{{ end }}
{{- else if eq .Role "tool" }}<|im_start|>user
<tool_response>
{{ .Content }}
</tool_response><|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ end }}
{{- end }}"""
'''


_SEEING = "{% for message in messages %}{{ message.content }} {% endfor %} now answer"


def make_models(program: Program, folder: Path, tiny: Path) -> None:
    """Put all of them into the program's store; hello comes with the one that is made of it."""
    with_tools = folder / "tools.gguf"
    write_copy(with_tools, chat_template=_JINJA)
    thinker = folder / "thinker.gguf"
    write_copy(thinker, chat_template=_THINKING)
    seer, projector = folder / "seer.gguf", folder / "projector.gguf"
    write_random_model(seer, chat_template=_SEEING)
    write_random_projector(projector)
    seeing = folder / "Seer"
    seeing.write_text(f"FROM {seer}\nFROM {projector}\n", encoding="utf-8")
    ranker = folder / "ranker.gguf"
    write_random_reranker(ranker)
    modelfile = folder / "Modelfile"
    modelfile.write_text(f"FROM hello\n{_GO}", encoding="utf-8")
    for arguments in (
        ("create", TINY, "--from", str(tiny)),
        ("create", TOOLS, "--from", str(with_tools)),
        ("create", THINKER, "--from", str(thinker)),
        ("create", RANKER, "--from", str(ranker)),
        ("create", SEER, "-f", str(seeing)),
        ("create", GO_TOOLS, "-f", str(modelfile)),
    ):
        done = program(*arguments)
        assert done.code == 0, done.err
