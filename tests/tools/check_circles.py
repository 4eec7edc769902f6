"""Proves that the modules of a crate do not use each other in circles.

A module is a file. What a module and its descendants use of each other does not count: they are one idea in two files.
Tests may use what they like.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [*sorted(ROOT.glob("crates/*/src")), ROOT / "tests/src"]

Graph = dict[str, set[str]]


def plain(text: str) -> str:
    """Code without comments, strings and tests."""
    text = re.sub(r'//[^\n]*|"(?:\\.|[^"\\])*"', lambda m: '""' if m[0][0] == '"' else "", text)
    return re.sub(
        r"#\[cfg\((?:all\()?test\b[^\n]*\n(?:\s*#!?\[[^\n]*\n)*\s*(?:pub )?mod \w+ \{.*", "", text, flags=re.S
    )


def name(path: Path) -> str:
    parts = list(path.with_suffix("").parts)
    if parts[-1] in ("mod", "lib", "main"):
        parts.pop()
    return "::".join(parts)


def paths(text: str) -> set[str]:
    """Every path that starts at crate, self or super, the braces of `use` taken apart."""
    found = set(re.findall(r"\b(?:crate|self|super)(?:::\w+)+", text))
    for prefix, tree in re.findall(r"\b((?:crate|self|super)(?:::\w+)*)::\{([^;]*)\};", text):
        found |= {prefix + "::" + path for path in expand(tree)}
    return found


def expand(tree: str) -> list[str]:
    out, depth, part = [], 0, ""
    for char in tree + ",":
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char != "," or depth:
            part += char
            continue
        part = re.sub(r"\s", "", part.split(" as ")[0])
        if "::{" in part:
            head, inner = part.split("::{", 1)
            out += [f"{head}::{path}" for path in expand(inner.rstrip("}"))]
        elif part:
            out.append(part)
        part = ""
    return out


def resolve(path: str, user: str, modules: set[str]) -> str | None:
    """The module that a path names or enters."""
    here = user.split("::") if user else []
    parts = path.split("::")
    if parts[0] == "crate":
        here = []
    while parts and parts[0] in ("crate", "self", "super"):
        if parts.pop(0) == "super":
            here = here[:-1]
    full = here + parts
    while full and "::".join(full) not in modules:
        full.pop()
    return "::".join(full) or None


def related(a: str, b: str) -> bool:
    return a == b or a.startswith(b + "::") or b.startswith(a + "::")


def graph(source: Path) -> Graph:
    texts = {name(path.relative_to(source)): path.read_text() for path in sorted(source.rglob("*.rs"))}
    for user, text in list(texts.items()):
        for child in re.findall(r"#\[cfg\(test\)\]\s*(?:pub )?mod (\w+);", text):
            texts.pop(f"{user}::{child}" if user else child, None)
    modules = set(texts)
    edges: Graph = {}
    for user, text in texts.items():
        used = {resolve(path, user, modules) for path in paths(plain(text))}
        # The root only declares and re-exports.
        edges[user] = {to for to in used if user and to and not related(user, to)}
    return edges


def circles(edges: Graph) -> list[list[str]]:
    """The shortest circle of each knot of modules, as a path that ends where it begins."""
    out: list[list[str]] = []
    seen: set[str] = set()
    for start in sorted(edges):
        if start in seen:
            continue
        came: dict[str, str] = {}
        queue = [start]
        for at in queue:
            for to in sorted(edges[at] - came.keys()):
                came[to] = at
                queue.append(to)
        if start in came:
            path = [start]
            while len(path) == 1 or path[-1] != start:
                path.append(came[path[-1]])
            out.append(path[::-1])
            seen |= set(path)
    return out


def main() -> int:
    found = [(source.parent.name, circle) for source in SOURCES for circle in circles(graph(source))]
    for crate, circle in found:
        print(f"{crate}: {' -> '.join(circle)}")
    print(f"{len(found)} circles of modules" if found else "no circles of modules")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
