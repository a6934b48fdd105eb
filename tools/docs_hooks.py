"""mkdocs hooks: the reference of the command line is made from its parsers, so that it cannot drift from them."""

import argparse
from typing import Any

MARKER = "<!-- commands -->"


def on_page_markdown(markdown: str, **_more: Any) -> str:
    """Put the reference where a page has the marker."""
    return markdown.replace(MARKER, commands_page()) if MARKER in markdown else markdown


def commands_page() -> str:
    """Every command with its arguments and flags, as Markdown."""
    from dift_edit.cli import build_parser

    return "\n".join(_sections(build_parser(), 2)[1:])


def _sections(parser: argparse.ArgumentParser, depth: int) -> list[str]:
    lines = [f"{'#' * depth} {parser.prog}", "", _sentence(parser.description or ""), ""]
    rows, below = [], []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                below += _sections(sub, min(depth + 1, 4))
        elif "--help" not in action.option_strings:
            rows.append(f"| {_names(action)} | {_help(action)} |")
    if rows:
        lines += ["| argument | what it does |", "|---|---|", *rows, ""]
    return lines + below


def _names(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{action.metavar or action.dest}`"
    value = "" if action.nargs == 0 else action.metavar or "|".join(map(str, action.choices or [action.dest.upper()]))
    names = ", ".join(f"`{flag}`" for flag in action.option_strings)
    return f"{names} `{value}`".replace("|", "\\|") if value else names


def _help(action: argparse.Action) -> str:
    text = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
    return text.replace("|", "\\|").replace("<", "&lt;")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "." if text else ""
