"""The tree that Sphinx reads: the repository's Markdown with its links led to the site's pages, and generated pages."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import manual
import schema

ROOT = Path(__file__).resolve().parents[2]

# Pages that stand elsewhere than in docs, and under which name the site has them.
ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "crates/python/README.md": "python.md",
    "crates/javascript/README.md": "npm.md",
    "tests/README.md": "samples.md",
}
CODE_OR_LINK = re.compile(r"(?ms)^```.*?^```|`[^`\n]*`|(?<=\]\()[^)\s]+(?=\))")
LANGUAGES = {".toml": "toml", ".yaml": "yaml", ".yml": "yaml", ".service": "ini", ".timer": "ini"}

# What stands where. The first page of a caption is what a newcomer of that kind reads first.
NAVIGATION = {
    "Tutorial": ["tutorial"],
    "Read stores": ["read", "recipes", "gdal", "javascript", "npm", "other-readers", "python", "readers"],
    "Build stores": ["guide"],
    "Run them for years": ["operations", "fleet", "publishing", "deploy"],
    "Reference": [
        *("reference/cli/s2ice", "Settings <configuration>", "reference/python", "reference/rust", "reference/schemas"),
        *("formats/store", "The codecs <formats/codec>", "formats/index", "formats/manifest", "versions", "changelog"),
    ],
    "Explanation": ["why", "architecture", "decisions/README", "benchmarks", "Sample products <samples>"],
}


def sources() -> dict[str, str]:
    """Markdown files of the repository, and the page that each becomes."""
    pages = dict(ELSEWHERE)
    for path in sorted((ROOT / "docs").rglob("*.md")):
        pages[path.relative_to(ROOT).as_posix()] = path.relative_to(ROOT / "docs").as_posix()
    return pages


def slug(text: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")


def place(target: str, pages: dict[str, str]) -> str | None:
    """The page, with its anchor, that shows a path of the repository."""
    if target in pages:
        return pages[target]
    path = PurePosixPath(target)
    if path.parts[:1] == ("schemas",):
        name = path.name.removesuffix(".schema.json")
        return "reference/schemas.md" if len(path.parts) == 1 else f"reference/schemas/{name}.md"
    if path.parts[:2] == ("docs", "deploy"):
        return "deploy.md" if len(path.parts) == 2 else f"deploy.md#{slug(path.relative_to('docs/deploy').as_posix())}"
    return target if path.name.startswith("LICENSE") else None


def led(text: str, source: str, pages: dict[str, str]) -> str:
    """Markdown whose links lead from the page of `source` to other pages."""
    here = PurePosixPath(pages[source])

    def lead(match: re.Match[str]) -> str:
        link = match[0]
        if link.startswith(("`", "#")) or re.match(r"[a-z]+:", link):
            return link
        file, _, anchor = link.partition("#")
        target = os.path.normpath(PurePosixPath(source).parent / file)
        page = place(target, pages)
        if page is None:
            raise SystemExit(f"{source}: the site has no page for {link}: say which in docs/site/stage.py")
        return os.path.relpath(page, here.parent) + (f"#{anchor}" if anchor else "")

    return CODE_OR_LINK.sub(lead, text)


def toctree(pages: list[str], *options: str) -> list[str]:
    return ["", "```{toctree}", ":hidden:", *options, "", *pages, "```", ""]


def deploy() -> Iterator[str]:
    """The files for schedulers, each as it stands."""
    folder = ROOT / "docs/deploy"
    yield "# Files for schedulers\n\nTo copy and adapt; tests read each of them with what will read it.\n"
    last = ""
    for path in sorted(folder.rglob("*"), key=lambda path: (len(path.relative_to(folder).parts) > 1, path)):
        name = path.relative_to(folder)
        if path.is_dir():
            continue
        if len(name.parts) > 1 and name.parts[0] != last:
            last = name.parts[0]
            yield f"## {last}\n"
        language = "docker" if path.name == "Dockerfile" else LANGUAGES.get(path.suffix, "text")
        yield f"{'##' if len(name.parts) == 1 else '###'} {name.as_posix()}\n\n````{language}\n{path.read_text()}````\n"


def rust(crates: list[str], rustdoc: Path | None) -> str:
    """The page of the crates; it leads to rustdoc's where that was made."""
    lines = [
        "# Rust crates",
        "",
        "The crates, from rustdoc. The command has a crate of its own, without public functions.",
        "",
    ]
    for name in crates:
        link = f'<a href="../rust/{name}/index.html"><code>{name}</code></a>' if rustdoc else f"`{name}`"
        lines.append(f"- {link}")
    if not rustdoc:
        lines += ["", "This site was built without them: `make docs` adds them."]
    return "\n".join([*lines, ""])


def python() -> str:
    """The page of what the package names as public: functions, the most used first, then classes, then errors."""
    import s2ice

    public = set(s2ice.__all__) - {"__version__", "errors", "plot"}
    lines = ["# Python functions", "", "Told by example in [s2ice for Python](../python.md).", "", "```{eval-rst}"]
    for name in sorted(public, key=lambda name: (name[0].isupper(), name != "open", name)):
        found = getattr(s2ice, name)
        kind = "function" if not isinstance(found, type) else "exception" if issubclass(found, Exception) else "class"
        lines.append(f".. auto{kind}:: s2ice.{name}")
    lines += ["", ".. automodule:: s2ice.plot", "   :members:"]
    return "\n".join([*lines, "", ".. automodule:: s2ice.errors", "   :members:", "   :show-inheritance:", "```", ""])


def stage(out: Path, man: Path, rustdoc: Path | None) -> None:
    """Make the tree in `out`, which is removed first, from the manual pages in `man`."""
    shutil.rmtree(out, ignore_errors=True)
    pages = sources()
    for source, page in pages.items():
        target = out / page
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(led((ROOT / source).read_text(), source, pages))
    for path in ROOT.glob("LICENSE-*"):
        shutil.copy(path, out)
    (out / "deploy.md").write_text("\n".join(deploy()))
    commands = manual.write(man, out / "reference/cli")
    schemas = schema.write(ROOT / "schemas", out / "reference/schemas")
    (out / "reference/python.md").write_text(python())
    names = ["s2ice_jpeg2000", "s2ice_manifest", "s2ice_store"]
    (out / "reference/rust.md").write_text(rust(names, rustdoc))
    # Schemas stand at the address that is their `$id`.
    (out / "extra").mkdir()
    shutil.copytree(ROOT / "schemas", out / "extra/schemas")
    if rustdoc:
        shutil.copytree(rustdoc, out / "extra/rust")
    decisions = sorted(path.stem for path in (out / "decisions").glob("0*.md"))
    trees = {
        "reference/cli/s2ice.md": toctree([name for name in commands if name != "s2ice"]),
        "reference/schemas.md": toctree([f"schemas/{name}" for name in schemas]),
        "decisions/README.md": toctree(decisions),
        "index.md": [line for caption, found in NAVIGATION.items() for line in toctree(found, f":caption: {caption}")],
    }
    for page, lines in trees.items():
        with (out / page).open("a") as file:
            file.write("\n".join(lines))
