// Runs templates through Go's own text/template, so that modelfiles/template can be held against it.
//
// Each line of standard input is {"template", "data", "zero"}; each line of standard output is {"output",
// "error"}, the output in base64 because it need not be UTF-8. "zero" asks for the option missingkey=zero.
//
// Data is JSON with marks for what JSON has no types for: {"$int": 5} is an int, {"$messages": [...]} and
// {"$tools": [...]} are slices of the structs below, which have the fields of Ollama's.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/template"
)

type request struct {
	Template string          `json:"template"`
	Data     json.RawMessage `json:"data"`
	Zero     bool            `json:"zero"`
}

type answer struct {
	Output []byte `json:"output"`
	Error  string `json:"error"`
}

// jsonMap prints itself as JSON, as the arguments of a tool call do.
type jsonMap map[string]any

func (m jsonMap) String() string {
	if m == nil {
		return "{}"
	}
	return marshal(m)
}

type callFunction struct {
	Index     int
	Name      string
	Arguments jsonMap
}

type call struct {
	ID       string
	Function callFunction
}

type message struct {
	Role       string
	Content    string
	Thinking   string
	Images     [][]byte
	ToolCalls  []call
	ToolName   string
	ToolCallID string
}

// typeNames is a JSON Schema type: one name or several.
type typeNames []string

func (t *typeNames) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*t = typeNames{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(t))
}

func (t typeNames) MarshalJSON() ([]byte, error) {
	if len(t) == 1 {
		return json.Marshal(t[0])
	}
	return json.Marshal([]string(t))
}

func (t typeNames) String() string {
	switch len(t) {
	case 0:
		return ""
	case 1:
		return t[0]
	}
	return fmt.Sprint([]string(t))
}

type property struct {
	AnyOf       []property  `json:"anyOf,omitempty"`
	Type        typeNames   `json:"type,omitempty"`
	Items       any         `json:"items,omitempty"`
	Description string      `json:"description,omitempty"`
	Enum        []any       `json:"enum,omitempty"`
	Properties  *properties `json:"properties,omitempty"`
}

var scriptTypes = map[string]string{
	"string": "string", "number": "number", "integer": "number", "boolean": "boolean",
	"array": "any[]", "object": "Record<string, any>", "null": "null",
}

func (p property) script() string {
	var names []string
	for _, one := range p.AnyOf {
		names = append(names, one.script())
	}
	if len(names) == 0 {
		for _, name := range p.Type {
			if known, ok := scriptTypes[name]; ok {
				names = append(names, known)
			} else {
				names = append(names, "any")
			}
		}
	}
	if len(names) == 0 {
		return "any"
	}
	return strings.Join(names, " | ")
}

type properties map[string]property

func (p properties) String() string {
	if p == nil {
		return "{}"
	}
	return marshal(p)
}

type parameters struct {
	Type       string     `json:"type"`
	Defs       any        `json:"$defs,omitempty"`
	Items      any        `json:"items,omitempty"`
	Required   []string   `json:"required,omitempty"`
	Properties properties `json:"properties"`
}

type function struct {
	Name        string     `json:"name"`
	Description string     `json:"description"`
	Parameters  parameters `json:"parameters"`
}

type tool struct {
	Type     string   `json:"type"`
	Items    any      `json:"items,omitempty"`
	Function function `json:"function"`
}

type tools []tool

func (t tools) String() string { return marshal(t) }

func marshal(value any) string {
	text, _ := json.Marshal(value)
	return string(text)
}

// decode gives JSON values their Go types, the marks theirs, and slices no room behind their end.
func decode(value any) any {
	switch value := value.(type) {
	case []any:
		list := make([]any, len(value))
		for i, element := range value {
			list[i] = decode(element)
		}
		return list
	case map[string]any:
		if number, ok := value["$int"]; ok {
			return int(number.(float64))
		}
		if list, ok := value["$messages"]; ok {
			var found []*message
			remarshal(list, &found)
			return found
		}
		if list, ok := value["$tools"]; ok {
			var found tools
			remarshal(list, &found)
			for i := range found {
				required := &found[i].Function.Parameters.Required
				*required = (*required)[:len(*required):len(*required)]
			}
			return found
		}
		for key, element := range value {
			value[key] = decode(element)
		}
	}
	return value
}

func remarshal(from, into any) {
	if err := json.Unmarshal([]byte(marshal(from)), into); err != nil {
		panic(err)
	}
}

var functions = template.FuncMap{
	"json":          marshal,
	"currentDate":   func(...string) string { return "2026-03-01" },
	"yesterdayDate": func(...string) string { return "2026-02-28" },
	"toTypeScriptType": func(value any) string {
		if p, ok := value.(property); ok {
			return p.script()
		}
		return "any"
	},
}

func run(asked request) (output []byte, err error) {
	defer func() {
		if caught := recover(); caught != nil {
			err = fmt.Errorf("panic: %v", caught)
		}
	}()
	var data any
	if err := json.Unmarshal(asked.Data, &data); err != nil {
		return nil, err
	}
	parsed := template.New("").Funcs(functions)
	if asked.Zero {
		parsed = parsed.Option("missingkey=zero")
	}
	if parsed, err = parsed.Parse(asked.Template); err != nil {
		return nil, err
	}
	var buffer bytes.Buffer
	err = parsed.Execute(&buffer, decode(data))
	return buffer.Bytes(), err
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var asked request
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			panic(err)
		}
		output, err := run(asked)
		reply := answer{Output: output}
		if err != nil {
			reply = answer{Error: err.Error()}
		}
		if err := out.Encode(reply); err != nil {
			panic(err)
		}
	}
}
