"""Requests that schemathesis makes up from the server's own OpenAPI document.

`make api-fuzz` asks for minutes; the test suite has a sample.
"""
