"""Templates of models that call a tool by heart, and answer when its answer has come.

Model files with them are written by `tools.reciting_model`: the first text is the call, the second the answer.
"""

from __future__ import annotations

from tools.reciting_model import cue

JINJA_TOOLS = (
    """\
{%- if tools %}{{- '<tools>' }}{%- for tool in tools %}{{- tool | tojson }}{%- endfor %}
{{- '</tools>\\n<tool_call>\\n{"name": <name>, "arguments": <arguments>}\\n</tool_call>\\n' }}{%- endif %}
{%- for message in messages %}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments if call.function.arguments is string else (call.function.arguments | tojson) }}
{{- '}\\n</tool_call>\\n' }}
{%- endfor %}
{{- message.role + ': ' + (message.content or '') + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}"""
    f"{{{{- '{cue(1)}' if messages[-1].role == 'tool' else '{cue(0)}' }}}}"
    "{%- endif %}"
)
GO_TOOLS = (
    """\
{{- if .Tools }}<tools>{{ range .Tools }}{{ . }}{{ end }}</tools>
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>
{{ end }}{{- $answered := false }}{{ range .Messages }}{{ .Role }}: {{ .Content }}
{{- range .ToolCalls }}<tool_call>
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
</tool_call>{{ end }}
{{ if eq .Role "tool" }}{{ $answered = true }}{{ end }}{{ end }}"""
    f"{{{{ if $answered }}}}{cue(1)}{{{{ else }}}}{cue(0)}{{{{ end }}}}"
)
