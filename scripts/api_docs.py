"""Writes the API reference, `docs/api.md`, from the comments of the proto.

python scripts/api_docs.py            writes the page
python scripts/api_docs.py --check    fails if the page is stale
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

REPOSITORY = Path(__file__).parents[1]
PROTO = "latens/v1/latens.proto"
PAGE = REPOSITORY / "docs" / "api.md"

# Field numbers of FileDescriptorProto and its parts, which source paths consist of.
_SYNTAX, _MESSAGE, _ENUM, _SERVICE = 12, 4, 5, 6
_FIELD, _VALUE, _METHOD, _NESTED_ENUM = 2, 2, 2, 4

Comments = dict[tuple[int, ...], str]


def main(arguments: Sequence[str]) -> int:
    """Writes or checks the page; the exit code."""
    text = page(described())
    if "--check" in arguments:
        fresh = PAGE.exists() and PAGE.read_text() == text
        if not fresh:
            print("docs/api.md is stale: run `python scripts/api_docs.py`", file=sys.stderr)
        return 0 if fresh else 1
    PAGE.write_text(text)
    return 0


def described() -> FileDescriptorProto:
    """The contract's file with its comments, as buf compiles it."""
    buf = Path(sys.executable).with_name("buf")
    built = subprocess.run(
        [buf, "build", "proto", "-o", "-#format=binpb"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    files = FileDescriptorSet.FromString(built.stdout).file
    return next(file for file in files if file.name == PROTO)


def page(file: FileDescriptorProto) -> str:
    """The whole page."""
    comments: Comments = {
        tuple(location.path): _flowing(location.leading_comments)
        for location in file.source_code_info.location
        if location.leading_comments
    }
    lines = [f"# The contract `{file.package}`", "", comments[_SYNTAX,], ""]
    lines += _contents(file)
    lines += _services(file, comments)
    lines += _messages(file, comments)
    lines += _enums(file, comments)
    return "\n".join(lines).rstrip() + "\n"


def _flowing(comment: str) -> str:
    """A comment with its paragraphs and lists, each on one line."""
    paragraphs: list[str] = []
    for line in comment.splitlines():
        text = line.strip()
        starts_anew = not text or text.startswith("* ") or not paragraphs or not paragraphs[-1]
        if starts_anew:
            paragraphs.append(text)
        else:
            paragraphs[-1] += f" {text}"
    return "\n".join(paragraphs).strip()


def _contents(file: FileDescriptorProto) -> Iterator[str]:
    yield "Written from the comments of `proto/latens/v1/latens.proto` by `scripts/api_docs.py`."
    yield ""
    yield "Messages: " + ", ".join(_link(message.name) for message in file.message_type) + "."
    yield ""
    yield "Enumerations: " + ", ".join(_link(enum.name) for enum in file.enum_type) + "."
    yield ""


def _services(file: FileDescriptorProto, comments: Comments) -> Iterator[str]:
    for number, service in enumerate(file.service):
        place = (_SERVICE, number)
        yield from (f"## {service.name}", "", comments[place], "")
        yield from ("| RPC | request | response | |", "|---|---|---|---|")
        for index, method in enumerate(service.method):
            yield _method_row(method, comments[*place, _METHOD, index])
        yield ""


def _method_row(method: MethodDescriptorProto, comment: str) -> str:
    request, response = (
        _link(name.split(".")[-1]) for name in (method.input_type, method.output_type)
    )
    return f"| `{method.name}` | {request} | {response} | {_cell(comment)} |"


def _messages(file: FileDescriptorProto, comments: Comments) -> Iterator[str]:
    yield from ("# Messages", "")
    for number, message in enumerate(file.message_type):
        place = (_MESSAGE, number)
        yield from (f"## {message.name}", "", comments[place], "")
        if message.field:
            yield from ("| | field | type | |", "|---|---|---|---|")
        for index, field in enumerate(message.field):
            comment = comments[*place, _FIELD, index]
            kind = _type(field, message)
            yield f"| {field.number} | `{field.name}` | {kind} | {_cell(comment)} |"
        yield ""
        for index, enum in enumerate(message.enum_type):
            inner = (*place, _NESTED_ENUM, index)
            yield from (f"### {enum.name}", "", comments[inner], "")
            yield from _enum_rows(enum, inner, comments)
            yield ""


def _enums(file: FileDescriptorProto, comments: Comments) -> Iterator[str]:
    yield from ("# Enumerations", "")
    for number, enum in enumerate(file.enum_type):
        place = (_ENUM, number)
        yield from (f"## {enum.name}", "", comments[place], "")
        yield from _enum_rows(enum, place, comments)
        yield ""


def _enum_rows(
    enum: EnumDescriptorProto, place: tuple[int, ...], comments: Comments
) -> Iterator[str]:
    yield from ("| | value | |", "|---|---|---|")
    for index, value in enumerate(enum.value):
        yield f"| {value.number} | `{value.name}` | {_cell(comments[*place, _VALUE, index])} |"


def _cell(comment: str) -> str:
    """A comment as one cell of a table."""
    return comment.replace("|", r"\|").replace("\n", " ")


def _type(field: FieldDescriptorProto, owner: DescriptorProto) -> str:
    """A field's type as one would write it, linked to where it is described."""
    entries = {nested.name: nested for nested in owner.nested_type if nested.options.map_entry}
    name = field.type_name.split(".")[-1]
    if name in entries:
        key, value = entries[name].field
        return f"map&lt;{_type(key, owner)}, {_type(value, owner)}&gt;"
    shown = _link(name) if name else f"`{FieldDescriptorProto.Type.Name(field.type)[5:].lower()}`"
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {shown}"
    if field.proto3_optional:
        return f"optional {shown}"
    if field.HasField("oneof_index"):
        return f"{shown}, one of `{owner.oneof_decl[field.oneof_index].name}`"
    return shown


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
