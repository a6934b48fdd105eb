"""mkdocs hooks: a place in the menu for every page. Run as a program, it writes docs/commands.md from the parsers."""

import argparse
from pathlib import Path
from typing import Any

COMMANDS = Path(__file__).parents[1] / "docs" / "commands.md"
MARKER = "<!-- below: written by tools/docs_hooks.py -->\n"
GUIDES = {
    "tutorial-cli.md": ("Tutorial", "Command line"),
    "tutorial-python.md": ("Tutorial", "Python"),
    "napari.md": ("Tutorial", "napari"),
    "models.md": ("Guides", "Which model when"),
    "edits.md": ("Guides", "Kinds of edits"),
    "annotation-formats.md": ("Guides", "Annotation formats"),
    "batch.md": ("Guides", "Many photos"),
    "cluster.md": ("Guides", "A million photos on a cluster"),
    "mockups.md": ("Guides", "Layers, mock-ups, proof"),
    "labels.md": ("Guides", "Copy labels to similar images"),
    "paintings.md": ("Guides", "Photos to paintings"),
    "own-model.md": ("Guides", "Bring your own model"),
    "privacy.md": ("Guides", "Hide plates and faces"),
    "landmarks.md": ("Guides", "Landmarks on specimens"),
    "performance-gpu.md": ("Measured", "On a GPU"),
    "review.md": ("Guides", "Reviewing results"),
    "learning.md": ("Guides", "Learning from the set"),
    "sequences.md": ("Guides", "Videos and sequences"),
    "evaluation.md": ("Guides", "Evaluation"),
    "how-it-works.md": ("How it works", "The whole way"),
    "matching.md": ("How it works", "Matching"),
    "placement.md": ("How it works", "Placement"),
    "negative-results.md": ("How it works", "Negative results"),
    "results.md": ("Measured", "Benchmarks"),
    "reproduction.md": ("Measured", "The DIFT paper's experiments"),
    "transfer_quality.md": ("Measured", "Quality of placements"),
    "networks.md": ("Measured", "Embedded networks"),
    "mini_settings.md": ("Measured", "Settings of mini"),
    "performance.md": ("Measured", "Speed and memory"),
    "performance-runtimes.md": ("Measured", "Runtimes on a CPU"),
    "growth.md": ("Measured", "Growth of time and memory"),
    "performance-features.md": ("Measured", "Speed of extraction"),
    "commands.md": ("Reference", "Commands"),
    "defaults.md": ("Guides", "Defaults of your own"),
    "api.md": ("Reference", "Python"),
    "security.md": ("Reference", "Security"),
    "glossary.md": ("Reference", "Glossary"),
    "licences.md": ("Reference", "Licences"),
    "extending.md": ("Reference", "Extending"),
}
"""Page → its group in the menu and its name there; pages that are not here go to the group "More"."""


def on_config(config: Any) -> Any:
    """Put every page of the folder into the menu."""
    groups: dict[str, list[dict[str, str]]] = {}
    there = {path.name for path in Path(config["docs_dir"]).glob("*.md")} - {"index.md"}
    for page in [*(name for name in GUIDES if name in there), *sorted(there - GUIDES.keys())]:
        group, title = GUIDES.get(page, ("More", page.removesuffix(".md").replace("_", " ")))
        groups.setdefault(group, []).append({title: page})
    config["nav"] = [{"Start": "index.md"}, *({group: pages} for group, pages in groups.items())]
    return config


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
        return f"`{action.metavar or '|'.join(map(str, action.choices or [action.dest]))}`".replace("|", "\\|")
    metavar = " ".join(action.metavar) if isinstance(action.metavar, tuple) else action.metavar
    value = "" if action.nargs == 0 else metavar or "|".join(map(str, action.choices or [action.dest.upper()]))
    names = ", ".join(f"`{flag}`" for flag in action.option_strings)
    return f"{names} `{value}`".replace("|", "\\|") if value else names


def _help(action: argparse.Action) -> str:
    text = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
    return text.replace("|", "\\|").replace("<", "&lt;")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "." if text else ""


def written_page() -> str:
    """What docs/commands.md has to hold: its own words above the marker, the reference below."""
    head = COMMANDS.read_text(encoding="utf-8").partition(MARKER)[0]
    return f"{head}{MARKER}\n{commands_page().strip()}\n"


if __name__ == "__main__":
    COMMANDS.write_text(written_page(), encoding="utf-8")
    print(COMMANDS)
