"""The command line as pages: what `s2ice man` writes out of clap's own arguments, read into Markdown."""

import re
from dataclasses import dataclass, field
from pathlib import Path

COMMON = "OPTIONS OF EVERY COMMAND"
# What a page says elsewhere or in another way.
LEFT_OUT = {"NAME", "SYNOPSIS", "SUBCOMMANDS", "VERSION"}


@dataclass
class Entry:
    """An option or an argument: how it is written, what it does, which values it has."""

    tag: str
    text: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)


@dataclass
class Page:
    """A manual page: its text and its entries, by section."""

    name: str
    about: str = ""
    text: dict[str, list[str]] = field(default_factory=dict)
    entries: dict[str, list[Entry]] = field(default_factory=dict)


def plain(line: str) -> str:
    """Text without fonts and escapes."""
    line = re.sub(r"\\f[BIRP]", "", line)
    line = re.sub(r"\\\*\(Aq|\\\(aq", "'", line)
    return line.replace("\\-", "-").replace("\\&", "").replace("\\(bu", "").replace("\\e", "\\")


def read(path: Path) -> Page:
    """A page of clap_mangen, whose few macros are all that this knows."""
    page, section, entry, awaits, values = Page(path.stem.replace("-", " ")), "", None, "", False
    for line in path.read_text().splitlines():
        if line.startswith(".SH"):
            section, entry, values = line[3:].strip().strip('"'), None, False
        elif line.startswith(".TP"):
            entry, awaits, values = None, "tag", False
        elif line.startswith(".RS"):
            values = True
        elif line.startswith(".RE"):
            values = False
        elif line.startswith((".ie", ".el", ".TH", ".br", ".IP")) or not line:
            continue
        elif line.startswith("."):
            raise SystemExit(f"{path}: the macro {line.split()[0]} is new: teach docs/site/manual.py what it means")
        elif awaits == "tag":
            entry, awaits = Entry(plain(line)), ""
            page.entries.setdefault(section, []).append(entry)
        elif entry and values:
            entry.values.append(plain(line))
        elif entry:
            if "Possible values:" not in line:
                entry.text.append(plain(line))
        else:
            page.text.setdefault(section, []).append(plain(line))
    page.about = " ".join(page.text.get("DESCRIPTION", []))
    return page


def escaped(text: str) -> str:
    """Markdown that shows the text; what stands in backticks, and options, are code."""
    text = re.sub(r"(?<![\w`-])--?[a-z][a-z-]*", r"`\g<0>`", text)
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([\\*_<>\[\]|{}])", r"\\\1", part) for part in parts)


def option(entry: Entry) -> list[str]:
    """One entry as Sphinx's directive, which gives it an anchor."""
    default = re.search(r" \[default: [^]]*\]$", entry.tag)
    tag = entry.tag[: default.start()] if default else entry.tag
    lines = [f"````{{option}} {tag}", "", escaped(" ".join(entry.text) + (default[0] if default else "")), ""]
    for value in entry.values:
        name, colon, text = value.partition(": ")
        lines.append(f"- `{name}`{': ' if colon else ''}{escaped(text)}")
    return [*lines, "````", ""]


def usage(page: Page) -> str:
    """How the command is called: its arguments, and that there are options."""
    entries = [entry for found in page.entries.values() for entry in found]
    arguments = [entry.tag.split(" [default")[0] for entry in entries if entry.tag.startswith(("<", "["))]
    return " ".join([page.name, "[OPTIONS]", *arguments])


def markdown(page: Page) -> str:
    """A command's page. What every command takes stands on that of `s2ice` alone."""
    top = page.name == "s2ice"
    lines = ["# Command line" if top else f"# {page.name}", "", escaped(page.about), ""]
    lines += ["```text", f"{page.name} [OPTIONS] COMMAND" if top else usage(page), "```", ""]
    lines += [*map(escaped, page.text.get("EXTRA", [])), "", f"```{{program}} {page.name}", "```", ""]
    for section, entries in page.entries.items():
        told = [entry for entry in entries if not entry.tag.startswith(("-h,", "-V,"))]
        if section in LEFT_OUT or (section == COMMON and not top) or not told:
            continue
        lines += [f"## {section.capitalize()}", ""]
        for entry in told:
            lines += option(entry)
    if not top:
        lines += ["And the [options of every command](s2ice.md#options-of-every-command).", ""]
    return "\n".join(lines)


def write(manual: Path, out: Path) -> list[str]:
    """Pages of all commands in `manual` into `out`; their names in order."""
    pages = [read(path) for path in manual.glob("*.1")]
    if not pages:
        raise SystemExit(f"{manual} has no manual pages: `s2ice man` wrote none")
    by_name = {page.name: page for page in pages}
    top = by_name["s2ice"]
    order = [entry.tag.removesuffix("(1)").replace("-", " ") for entry in top.entries["SUBCOMMANDS"]]
    names = sorted(by_name, key=lambda name: (order.index(" ".join(name.split()[:2])) if name != "s2ice" else -1, name))
    out.mkdir(parents=True)
    for name in names:
        text = markdown(by_name[name])
        if name == "s2ice":
            rows = [f"| [{n}]({n.replace(' ', '-')}.md) | {escaped(by_name[n].about)} |" for n in names if n != name]
            commands = ["## Commands", "", "| command | what it does |", "| --- | --- |", *rows, "", ""]
            text = text.replace(f"## {COMMON.capitalize()}", "\n".join(commands) + f"## {COMMON.capitalize()}")
        (out / f"{name.replace(' ', '-')}.md").write_text(text)
    return [name.replace(" ", "-") for name in names]
