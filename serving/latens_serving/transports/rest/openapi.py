"""The OpenAPI 3.1 document of the HTTP port, made from the tables that answer it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final, Protocol

from google.protobuf.descriptor import Descriptor as MessageDescriptor
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from latens.v1 import latens_pb2 as pb
from latens_serving.transports.rest import parameters
from latens_serving.transports.rest.parameters import Parse

Schema = dict[str, Any]

_SERVICE: Final = pb.DESCRIPTOR.services_by_name["LatentService"]
_JSON: Final = "application/json"
_NUMBERS: Final[Schema] = {
    "type": "array",
    "items": {},
    "description": "Nested lists of numbers; the first axis counts the rows.",
}
_KINDS: Final[Mapping[Parse, Schema]] = {
    parameters.word: {"type": "string"},
    parameters.number: {"type": "number"},
    parameters.flag: {"type": "boolean"},
    parameters.classes: {
        "type": "string",
        "pattern": "^[0-9]+(,[0-9]+)*$",
        "description": "Of a conditional model the class of each row, or one for all.",
    },
    parameters.fit: {"type": "string", "enum": ["pad", "crop", "resize"]},
    parameters.size: {"type": "string", "pattern": "^[0-9]+x[0-9]+$"},
}
_INTEGER: Final[Schema] = {"type": "integer", "minimum": 0}
_ERROR: Final[Schema] = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {
        "code": {"type": "string", "description": "The gRPC code in small letters."},
        "message": {"type": "string"},
        "reason": {"type": "string", "description": "The error's name for programs."},
    },
}


class Described(Protocol):
    """What the document says of one route."""

    @property
    def path(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def parameters(self) -> Mapping[str, Parse]: ...
    @property
    def takes(self) -> Sequence[str]: ...
    @property
    def fields(self) -> Sequence[str]: ...
    @property
    def gives(self) -> Sequence[str]: ...


def document(routes: Iterable[Described], *, has_tokens: bool) -> Schema:
    """The document.

    Args:
        routes: of plain HTTP; the RPCs come from the contract's descriptor.
        has_tokens: whether calls need a bearer token.
    """
    messages = _Messages()
    paths = {route.path: {"post": _operation(route)} for route in routes}
    for method in _SERVICE.methods:
        paths[f"/{_SERVICE.full_name}/{method.name}"] = {"post": _rpc(method, messages)}
    components: Schema = {"schemas": {"Error": _ERROR, **messages.schemas}}
    described: Schema = {
        "openapi": "3.1.0",
        "info": {"title": "Latens", "version": version("latens-serving")},
        "paths": paths,
        "components": components,
    }
    if has_tokens:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"token": []}]
    return described


def _operation(route: Described) -> Schema:
    in_path = re.findall(r"{(\w+)}", route.path)
    described: Schema = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
              for name in in_path),
            *({"name": name, "in": "query", "schema": _KINDS.get(parse, _INTEGER)}
              for name, parse in route.parameters.items()),
        ],
        "responses": _responses({kind: _content(kind) for kind in route.gives}),
    }  # fmt: skip
    if route.takes:
        content = {kind: _content(kind, route.fields) for kind in route.takes}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _content(kind: str, fields: Sequence[str] = ()) -> Schema:
    if kind != _JSON:
        return {"schema": {"type": "string", "format": "binary"}}
    schema: Schema = {"type": "object"}
    if fields:
        schema["properties"] = dict.fromkeys(fields, _NUMBERS)
        schema["required"] = list(fields)
        schema["additionalProperties"] = False
    return {"schema": schema}


def _rpc(method: MethodDescriptor, messages: _Messages) -> Schema:
    request = messages.reference(method.input_type)
    answer = {_JSON: {"schema": messages.reference(method.output_type)}}
    return {
        "operationId": f"{_SERVICE.name}_{method.name}",
        "summary": f"The RPC {method.name} as JSON.",
        "requestBody": {"required": True, "content": {_JSON: {"schema": request}}},
        "responses": _responses(answer),
    }


def _responses(content: Schema) -> Schema:
    error = {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "200": {"description": "The answer.", "content": content},
        "default": {"description": "An error.", "content": error},
    }


class _Messages:
    """The messages of the contract as schemas, in the JSON form of protobuf."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}

    def reference(self, message: MessageDescriptor) -> Schema:
        """A reference to a message's schema, which is made at the first one."""
        name = message.full_name
        if name not in self.schemas:
            self.schemas[name] = {}  # messages may hold themselves
            properties = {field.json_name: self._field(field) for field in message.fields}
            self.schemas[name] = {"type": "object", "properties": properties}
        return {"$ref": f"#/components/schemas/{name}"}

    def _field(self, field: FieldDescriptor) -> Schema:
        message = field.message_type
        if message is not None and message.GetOptions().map_entry:
            return {
                "type": "object",
                "additionalProperties": self._single(message.fields_by_name["value"]),
            }
        if field.is_repeated:
            return {"type": "array", "items": self._single(field)}
        return self._single(field)

    def _single(self, field: FieldDescriptor) -> Schema:
        if field.message_type is not None:
            if field.message_type.full_name == "google.protobuf.Timestamp":
                return {"type": "string", "format": "date-time"}
            return self.reference(field.message_type)
        if field.enum_type is not None:
            return {"type": "string", "enum": [value.name for value in field.enum_type.values]}
        kinds: dict[int, Schema] = {
            FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
            FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
            FieldDescriptor.CPPTYPE_INT32: {"type": "integer"},
            FieldDescriptor.CPPTYPE_UINT32: {"type": "integer"},
            FieldDescriptor.CPPTYPE_INT64: {"type": ["string", "integer"]},
            FieldDescriptor.CPPTYPE_UINT64: {"type": ["string", "integer"]},
            FieldDescriptor.CPPTYPE_FLOAT: {"type": "number"},
            FieldDescriptor.CPPTYPE_DOUBLE: {"type": "number"},
        }
        if field.type == FieldDescriptor.TYPE_BYTES:
            return {"type": "string", "contentEncoding": "base64"}
        return kinds[field.cpp_type]
