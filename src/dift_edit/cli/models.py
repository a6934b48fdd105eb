"""``dift-edit models``: what can be loaded, what is on this machine, and turning ADM's checkpoint into a folder."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HELP = "list models and presets; fetch, convert or check a model; show or empty the feature cache"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be done with models; nothing chosen means listing them."""
    from dift_edit.features.adm_architecture import AdmArchitecture
    from dift_edit.settings import add_settings_arguments

    parser.add_argument("--json", action="store_true", help="print everything as JSON, presets with all values")
    parser.add_argument(
        "--why", metavar="MODEL", help="say how a model of the list, or a folder, runs on the device, and why"
    )
    parser.add_argument("--device", default="cpu", help="for --why: cpu, cuda, … (default: %(default)s)")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    convert = _action(actions, "convert", "turn a .pt file of guided-diffusion (ADM) into a model folder")
    convert.add_argument("checkpoint", metavar="FILE", help="the checkpoint, such as 256x256_diffusion_uncond.pt")
    convert.add_argument("-o", "--output", metavar="DIR", required=True, help="the new folder")
    add_settings_arguments(convert, AdmArchitecture)
    fetch = _action(actions, "fetch", "download a model of the list now")
    fetch.add_argument("name", metavar="MODEL", help="a model of the list")
    check = _action(actions, "check", "read a model's weights and compare them with their recorded SHA-256")
    check.add_argument("name", metavar="MODEL", help="a model of the list, or a folder")
    export = _action(actions, "export", "write a network to an ONNX file, and compare its features with torch's")
    export.add_argument("name", metavar="MODEL", help="lite, dift-mini, or the folder of a network that sees pixels")
    export.add_argument("--onnx", metavar="FILE", required=True, help="the new file")
    export.add_argument(
        "--size",
        metavar=("W", "H"),
        nargs=2,
        type=int,
        default=(640, 480),
        help="size of an image in pixels: the file takes such an image as the network sees it (default: 640 480)",
    )
    cache = _action(actions, "cache", "show how large the feature cache is, or empty it")
    cache.add_argument("--clear", action="store_true", help="remove all features")


def _action(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    """The parser of one action; the list of actions and the action's own help say the same."""
    made: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
    return made


def run(args: argparse.Namespace) -> int:
    """Do the chosen action."""
    if args.why:
        return _why(args)
    actions = {"convert": _convert, "fetch": _fetch, "check": _check, "export": _export, "cache": _cache}
    return actions.get(args.action or "", _list)(args)


def _convert(args: argparse.Namespace) -> int:
    from dift_edit.features.adm_architecture import AdmArchitecture
    from dift_edit.features.adm_checkpoint import convert_adm
    from dift_edit.settings import settings_from_arguments

    folder = convert_adm(args.checkpoint, args.output, settings_from_arguments(args, AdmArchitecture))
    print(f"{folder} is a model folder now: use it as  --model {folder}")
    return 0


def _fetch(args: argparse.Namespace) -> int:
    from dift_edit.features.catalog import MODELS
    from dift_edit.features.sources import embedded_folders, find_file, find_model

    if embedded_folders(args.name):
        print(f"{args.name} is part of the package.")
        return 0
    found = find_model(args.name)
    print(f"{args.name}: {found.id} {found.revision} in {found.folder}")
    entry = MODELS.get(args.name)
    if entry is not None and entry.unet_file:
        print(f"{args.name}: {find_file(entry.unet_id, entry.unet_file)}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from dift_edit.features.sources import embedded_folders, find_model
    from dift_edit.features.weights import damaged_weights

    folders = [Path(args.name)]
    if not folders[0].is_dir():
        folders = embedded_folders(args.name) or [find_model(args.name, download=False).folder]
    found = {file: damaged for folder in folders for file, damaged in damaged_weights(folder).items()}
    words = {None: "no digest recorded", False: "intact", True: "DAMAGED: fetch it again"}
    for file, damaged in found.items():
        print(f"{words[damaged]}: {file}")
    if not found:
        print(f"{folders[0]} holds no .safetensors file.")
    return 1 if not found or any(found.values()) else 0


def _export(args: argparse.Namespace) -> int:
    from dift_edit.features.export import export_onnx
    from dift_edit.features.registry import load_featurizer

    featurizer = load_featurizer(args.name, channels_last=False)
    made = export_onnx(featurizer, args.onnx, size=args.size)
    print(f"{made.path}: pixels (1, 3, {made.size[1]}, {made.size[0]}), RGB in 0 to 1", end="")
    print(f", and noise {made.noise_shape}, standard normal" if made.noise_shape else "", end="")
    print(f" -> features on {made.grid[0]} x {made.grid[1]} cells")
    print(f"ONNX Runtime and torch agree: largest 1 - cosine of a cell {made.largest_difference:.1e}")
    return 0


def _cache(args: argparse.Namespace) -> int:
    from dift_edit.features.cache import FeatureCache

    cache = FeatureCache()
    if args.clear:
        print(f"{cache.clear()} feature maps removed from {cache.folder}")
    else:
        print(f"{cache.folder}: {cache.size() / 1e6:.1f} MB of at most {cache.max_bytes / 1e9:.1f} GB")
    return 0


def _why(args: argparse.Namespace) -> int:
    from dift_edit.features.catalog import MODELS
    from dift_edit.features.device_defaults import device_defaults, folder_is_small
    from dift_edit.features.execution import SMALL
    from dift_edit.features.sources import EMBEDDED, fusion_parts, unknown_model

    for name in (part.name for part in fusion_parts(args.why)):
        folder = EMBEDDED / name if (EMBEDDED / name).is_dir() else Path(name)
        if folder.is_dir():
            small = folder_is_small(folder)
        elif name in MODELS:
            small = MODELS[name].gigabytes * 1e9 <= 4 * SMALL
        else:
            raise unknown_model(name)
        chosen = device_defaults(args.device, small=small)
        print(f"{name} on {args.device}, a {'small' if small else 'large'} network:")
        for setting, value in chosen.settings.items():
            print(f"  {setting} = {value}")
        print(chosen.why)
    print("Each can be set by its name: load_featurizer(…, dtype=…), or in a recipe's [model.settings].")
    return 0


def _list(args: argparse.Namespace) -> int:
    from dift_edit.features.catalog import MODELS
    from dift_edit.features.presets import PRESETS
    from dift_edit.features.sources import models_folder

    models = [_model(name) for name in MODELS]
    if args.json:
        presets = [{**vars(preset), "fingerprint": preset.fingerprint()} for preset in PRESETS.values()]
        json.dump({"models": models, "presets": presets}, sys.stdout, indent=1, default=dict)
        print()
        return 0
    rows = [("MODEL", "KIND", "HERE", "SIZE", "LICENCE", "NEEDS")]
    rows += [(m["name"], m["kind"], m["here"], f"{m['gigabytes']:.2g} GB", m["licence"], m["needs"]) for m in models]
    _table(rows)
    print(f"\nModel folders of your own go into {models_folder()}, or are given by their path.\n")
    table = [("PRESET", "VERSION", "MODEL", "MATCHING", "SETTINGS")]
    for preset in PRESETS.values():
        settings = ", ".join(f"{key} {_plain(value)}" for key, value in preset.settings.items())
        matching = f"{preset.matching}, {preset.metric}"
        table.append((preset.name, str(preset.version), preset.model, matching, settings))
    _table(table)
    return 0


def _model(name: str) -> dict[str, Any]:
    """What is known of a model, as plain data."""
    from dift_edit.features.catalog import MODELS
    from dift_edit.features.sources import cached_bytes, embedded_folders

    entry = MODELS[name]
    here = "in the package"
    if not embedded_folders(name):
        size = cached_bytes(name)
        here = f"{size / 1e9:.2g} GB" if size else "no"
    return {
        "name": name, "kind": entry.kind, "here": here, "gigabytes": entry.gigabytes, "licence": entry.licence,
        "needs": entry.needs, "ids": list(entry.ids), "settings": dict(entry.settings),
    }  # fmt: skip


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print columns, aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _plain(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else json.dumps(value) if value == "" else str(value)
