"""JSON Schemas as pages: a table of fields for each object, a table of words for each choice."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

type Schema = dict[str, Any]

WORDS = {"string": "text", "boolean": "true or false", "object": "table", "array": "list"}


def cell(text: str) -> str:
    """Text that may stand in a table."""
    return " ".join(text.split()).replace("|", "\\|")


def kind(schema: Schema | bool) -> str:
    """What a value may be, in words."""
    if isinstance(schema, bool):
        return "anything"
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " or ".join(dict.fromkeys(kind(one) for one in schema[choice]))
    types = schema.get("type", "anything")
    return " or ".join(one(name, schema) for name in ([types] if isinstance(types, str) else types))


def one(name: str, schema: Schema) -> str:
    if name == "array" and "items" in schema:
        return f"list of {kind(schema['items'])}"
    if name == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"table of {kind(schema['additionalProperties'])}"
    if name == "string" and "contentEncoding" in schema:
        return f"text in {schema['contentEncoding']}"
    return WORDS.get(name, name)


def fields(schema: Schema) -> Iterator[str]:
    """The table of an object's fields. Where none is required, that is not said of each."""
    required = set(schema.get("required", []))
    yield "| field | value | what |"
    yield "| --- | --- | --- |"
    for name, value in schema["properties"].items():
        what = value.get("description", "") if isinstance(value, dict) else ""
        default = value.get("default") if isinstance(value, dict) else None
        if default is not None and not isinstance(default, dict):
            what += f" Default: `{json.dumps(default)}`."
        absent = ", may be absent" if required and name not in required else ""
        yield f"| `{name}` | {cell(kind(value))}{absent} | {cell(what)} |"
    yield ""


def body(schema: Schema, heading: str) -> Iterator[str]:
    """What a schema says of itself: fields, choices, or what kind of value it is."""
    choices = schema.get("oneOf") or schema.get("anyOf") or []
    if "properties" in schema:
        yield from fields(schema)
        for name, value in schema["properties"].items():
            if isinstance(value, dict) and "properties" in value:
                yield from [f"{heading} In `{name}`", ""]
                yield from body(value, heading + "#")
    elif choices and all("const" in choice for choice in choices):
        yield from ["| value | meaning |", "| --- | --- |"]
        yield from (f"| {kind(choice)} | {cell(choice.get('description', ''))} |" for choice in choices)
        yield ""
    elif any("properties" in choice for choice in choices):
        for choice in choices:
            name, _, more = choice.get("description", "One form").rstrip(".").partition(": ")
            yield from [f"{heading} {name}", "", more and f"{more[:1].upper()}{more[1:]}.", ""]
            yield from body(choice, heading + "#")
    else:
        yield from [f"{kind(schema)[:1].upper()}{kind(schema)[1:]}.", ""]


def markdown(path: Path) -> str:
    """The page of one schema; `path` is that of its JSON."""
    schema = json.loads(path.read_text())
    lines = [f"# {path.name.removesuffix('.schema.json')}", "", schema.get("description", ""), ""]
    lines += [f'Schema: <a href="../../schemas/{path.name}">{path.name}</a>.', ""]
    lines += body(schema, "##")
    for name, definition in schema.get("$defs", {}).items():
        lines += [f"## {name}", "", definition.get("description", ""), "", *body(definition, "###")]
    return "\n".join(lines)


def write(schemas: Path, out: Path) -> list[str]:
    """Pages of all schemas into `out`, and beside it the list of them; their names in order."""
    paths = sorted(schemas.glob("*.schema.json"))
    out.mkdir(parents=True)
    rows = []
    for path in paths:
        name = path.name.removesuffix(".schema.json")
        (out / f"{name}.md").write_text(markdown(path))
        rows.append(f"| [{name}](schemas/{name}.md) | {cell(json.loads(path.read_text()).get('description', ''))} |")
    lines = ["# Reports and files", ""]
    lines += ["What s2ice writes or reads as JSON, TOML or columns, field by field, made from its JSON Schemas.", ""]
    lines += ["| schema | of |", "| --- | --- |", *rows, ""]
    out.with_suffix(".md").write_text("\n".join(lines))
    return [path.name.removesuffix(".schema.json") for path in paths]
