"""Ollama's requests and answers as JSON Schema, for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping

from modelfiles.spec import DEPRECATED, PARAMETERS, Kind

Schema = Mapping[str, object]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
WHOLE: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NANOSECONDS: Schema = {"type": "integer", "minimum": 0, "description": "Nanoseconds."}
MOMENT: Schema = {"type": "string", "format": "date-time"}
OBJECT: Schema = {"type": "object"}
MODEL: Schema = {"type": "string", "minLength": 1, "maxLength": 1024, "examples": ["hello"]}


def listed(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def fields(properties: Mapping[str, Schema], *required: str) -> Schema:
    """An object with these fields; further ones are passed over."""
    found: dict[str, object] = {"type": "object", "properties": dict(properties)}
    return found | {"required": list(required)} if required else found


_KINDS: Mapping[Kind, Schema] = {
    Kind.INT32: {"type": "number", "minimum": -(2**31), "maximum": 2**31 - 1},
    Kind.INT64: {"type": "number", "minimum": -(2**63), "maximum": 2**63 - 1},
    Kind.FLOAT: {"type": "number", "minimum": -3.4e38, "maximum": 3.4e38},
    Kind.BOOL: FLAG,
    Kind.STRINGS: listed(TEXT),
}

OPTIONS: Schema = {
    "type": "object",
    "properties": {
        **{name: _KINDS[kind] for name, kind in PARAMETERS.items()},
        **{name: {"deprecated": True, "description": "Passed over."} for name in sorted(DEPRECATED)},
    },
    "description": "Ollama's parameters. Those that are not known are passed over.",
}
KEEP_ALIVE: Schema = {
    "type": ["string", "number"],
    "description": "How long the model stays loaded: seconds, or a duration of Go's (5m, 1h30m); negative is"
    " for ever, 0 leaves at once. A text needs units.",
    "examples": ["5m", -1, 0],
}
FORMAT: Schema = {
    "anyOf": [{"enum": ["json", ""]}, OBJECT],
    "description": '"json", or a JSON Schema that the answer must meet.',
}
THINK: Schema = {"anyOf": [FLAG, {"enum": ["low", "medium", "high", "max"]}]}
IMAGES: Schema = listed({"type": "string", "contentEncoding": "base64", "description": "The image's file."})
ALTERNATIVES: Schema = {"type": "integer", "minimum": 0, "maximum": 20}

_ASKED: Mapping[str, Schema] = {
    "model": MODEL,
    "stream": {"type": "boolean", "default": True},
    "format": FORMAT,
    "keep_alive": KEEP_ALIVE,
    "options": OPTIONS,
    "think": THINK,
    "truncate": {"type": "boolean", "default": True},
    "shift": {"enum": [False], "description": "Only false: a full context ends the answer."},
    "logprobs": FLAG,
    "top_logprobs": ALTERNATIVES,
    "_debug_render_only": FLAG,
}
GENERATE = fields(
    {
        **_ASKED,
        "prompt": TEXT,
        "suffix": TEXT,
        "system": TEXT,
        "template": TEXT,
        "context": listed(COUNT),
        "raw": FLAG,
        "images": IMAGES,
    },
    "model",
)
TOOL_CALL = fields(
    {
        "id": TEXT,
        "function": fields(
            {"index": WHOLE, "name": {"type": "string", "minLength": 1}, "arguments": OBJECT}, "name"
        ),
    },
    "function",
)
MESSAGE = fields(
    {
        "role": {"type": "string", "minLength": 1, "examples": ["user", "assistant", "system", "tool"]},
        "content": TEXT,
        "thinking": TEXT,
        "images": IMAGES,
        "tool_calls": listed(TOOL_CALL),
        "tool_name": TEXT,
        "tool_call_id": TEXT,
    },
    "role",
)
TOOL = fields(
    {
        "type": TEXT,
        "function": fields(
            {"name": {"type": "string", "minLength": 1}, "description": TEXT, "parameters": OBJECT}, "name"
        ),
    },
    "function",
)
CHAT = fields({**_ASKED, "messages": listed(MESSAGE), "tools": listed(TOOL)}, "model")

_TOKEN = {"token": TEXT, "logprob": {"type": "number"}, "bytes": listed(COUNT)}
_ENDED: Mapping[str, Schema] = {
    "model": TEXT,
    "created_at": MOMENT,
    "done": FLAG,
    "done_reason": {"enum": ["stop", "length", "load", "unload"]},
    "truncated": fields({"messages": COUNT, "tokens": COUNT}, "messages", "tokens"),
    "total_duration": NANOSECONDS,
    "load_duration": NANOSECONDS,
    "prompt_eval_count": COUNT,
    "prompt_eval_duration": NANOSECONDS,
    "eval_count": COUNT,
    "eval_duration": NANOSECONDS,
    "logprobs": listed(fields({**_TOKEN, "top_logprobs": listed(fields(_TOKEN))}, "token", "logprob")),
    "_debug_info": fields({"rendered_template": TEXT, "image_count": COUNT}, "rendered_template"),
}
GENERATED = fields(
    {**_ENDED, "response": TEXT, "thinking": TEXT, "context": listed(COUNT)}, "model", "created_at"
)
CHATTED = fields({**_ENDED, "message": MESSAGE}, "model", "created_at")

_EMBED_ASKED: Mapping[str, Schema] = {"model": MODEL, "keep_alive": KEEP_ALIVE, "options": OPTIONS}
EMBED = fields(
    {
        **_EMBED_ASKED,
        "input": {"anyOf": [TEXT, listed(TEXT)]},
        "truncate": {"type": "boolean", "default": True},
        "dimensions": COUNT,
    },
    "model",
)
_CUT_INPUTS = fields({"inputs": listed(COUNT)})
EMBEDDED = fields(
    {
        "model": TEXT,
        "embeddings": listed(listed({"type": "number"})),
        "truncated": _CUT_INPUTS,
        "total_duration": NANOSECONDS,
        "load_duration": NANOSECONDS,
        "prompt_eval_count": COUNT,
    },
    "model",
    "embeddings",
)
EMBEDDINGS = fields({**_EMBED_ASKED, "prompt": TEXT}, "model")
EMBEDDING = fields({"embedding": listed({"type": "number"}), "truncated": _CUT_INPUTS}, "embedding")

VERSION = fields({"version": TEXT, "slmctl": TEXT}, "version")
STATUS = fields({"cloud": fields({"disabled": FLAG, "source": TEXT}, "disabled")}, "cloud")
DETAILS = fields(
    {
        "parent_model": TEXT,
        "format": TEXT,
        "family": TEXT,
        "families": listed(TEXT),
        "parameter_size": TEXT,
        "quantization_level": TEXT,
        "context_length": COUNT,
        "embedding_length": COUNT,
    }
)
_NAMED: Mapping[str, Schema] = {
    "name": TEXT,
    "model": TEXT,
    "size": COUNT,
    "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "details": DETAILS,
}
TAGS = fields(
    {
        "models": listed(
            fields({**_NAMED, "modified_at": MOMENT, "capabilities": listed(TEXT)}, *_NAMED, "modified_at")
        )
    },
    "models",
)
PS = fields(
    {
        "models": listed(
            fields(
                {
                    **_NAMED,
                    "expires_at": MOMENT,
                    "size_vram": COUNT,
                    "context_length": COUNT,
                    "variant": TEXT,
                    "purpose": {"enum": ["text", "embedding", "rank"]},
                    "engine": TEXT,
                    "state": TEXT,
                    "parallel": COUNT,
                    "running": COUNT,
                    "waiting": COUNT,
                    "pinned": FLAG,
                    "seconds_left": {"type": ["number", "null"]},
                },
                *_NAMED,
                "expires_at",
            )
        )
    },
    "models",
)
_OLD_NAME: Schema = {**TEXT, "deprecated": True, "description": "What `model` was called once."}
SHOW = fields({"model": MODEL, "name": _OLD_NAME, "verbose": FLAG, "system": TEXT, "options": OPTIONS})
SHOWN = fields(
    {
        "license": TEXT,
        "modelfile": TEXT,
        "parameters": TEXT,
        "template": TEXT,
        "system": TEXT,
        "renderer": TEXT,
        "parser": TEXT,
        "details": DETAILS,
        "messages": listed(MESSAGE),
        "model_info": OBJECT,
        "projector_info": OBJECT,
        "tensors": listed(fields({"name": TEXT, "type": TEXT, "shape": listed(COUNT)})),
        "capabilities": listed(TEXT),
        "modified_at": MOMENT,
        "requires": TEXT,
        "digest": TEXT,
    },
    "details",
    "model_info",
    "capabilities",
)
_DIGESTS: Schema = {
    "type": "object",
    "additionalProperties": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
}
CREATE = fields(
    {
        "model": MODEL,
        "name": _OLD_NAME,
        "from": TEXT,
        "files": _DIGESTS,
        "adapters": _DIGESTS,
        "draft_files": _DIGESTS,
        "template": TEXT,
        "license": {"anyOf": [TEXT, listed(TEXT)]},
        "system": TEXT,
        "parameters": OPTIONS,
        "messages": listed(MESSAGE),
        "renderer": TEXT,
        "parser": TEXT,
        "requires": TEXT,
        "stream": {"type": "boolean", "default": True},
        "force": {**FLAG, "description": "Replace a model that came from somewhere else."},
    }
)
TRANSFER = fields(
    {
        "model": MODEL,
        "name": _OLD_NAME,
        "insecure": {**FLAG, "description": "Permit http:// without encryption."},
        "stream": {"type": "boolean", "default": True},
        "force": {**FLAG, "description": "Replace a model that came from somewhere else (pull)."},
    }
)
PROGRESS = fields({"status": TEXT, "digest": TEXT, "total": COUNT, "completed": COUNT}, "status")
COPY = fields({"source": MODEL, "destination": MODEL, "force": FLAG}, "source", "destination")
DELETE = fields({"model": MODEL, "name": _OLD_NAME})
