"""Try what `python -m build` made: sizes, contents, and `dift-edit demo` in a bare environment elsewhere."""

import argparse
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

LIMIT = 40e6
REPOSITORY = Path(__file__).parents[1]
NEEDED = [
    "dift_edit/py.typed",
    "dift_edit/models/dift-mini/MODEL_CARD.md",
    "dift_edit/models/dift-mini/unet/diffusion_pytorch_model.int8.safetensors",
    "dift_edit/models/dift-mini/unet/SHA256SUMS",
    "dift_edit/models/lite/MODEL_CARD.md",
    "dift_edit/models/lite/model.int8.safetensors",
    "dift_edit/models/lite/SHA256SUMS",
    "dift_edit/samples/LICENSE.md",
    "napari_dift_edit/__init__.py",
]


def main() -> int:
    """Check the archives; with no complaint print their sizes and the demo's last lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder with one wheel and one sdist")
    parser.add_argument("--no-install", action="store_true", help="look only at sizes and contents")
    args = parser.parse_args()
    (wheel,), (sdist,) = args.folder.glob("*.whl"), args.folder.glob("*.tar.gz")
    for archive in (wheel, sdist):
        size = archive.stat().st_size
        print(f"{archive.name}: {size / 1e6:.1f} MB")
        if size > LIMIT:
            sys.exit(f"{archive} has {size / 1e6:.0f} MB, more than {LIMIT / 1e6:.0f}: leave something out.")
    _check_contents(wheel, sdist)
    if not args.no_install:
        with tempfile.TemporaryDirectory() as folder:
            _try(wheel.resolve(), Path(folder))
    return 0


def _check_contents(wheel: Path, sdist: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    missing = [name for name in NEEDED if name not in inside]
    stray = [name for name in inside if name.endswith((".pyc", ".orig", ".rej")) or name.startswith("tests/")]
    if missing or stray:
        sys.exit(f"{wheel}: missing {missing}, stray {stray}")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("pyproject.toml", "src/dift_edit/__init__.py", "tests/conftest.py", "LICENSE"):
        if name not in names:
            sys.exit(f"{sdist}: {name} is missing")


def _try(wheel: Path, folder: Path) -> None:
    python = folder / "environment" / "bin" / "python"
    start = time.time()
    subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", REPOSITORY / "constraints.txt", wheel], check=True)
    print(f"installed in {time.time() - start:.0f} s")
    start = time.time()
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    command = [python.with_name("dift-edit"), "demo", "-o", "demo"]
    done = subprocess.run(command, cwd=folder, env=bare, capture_output=True, text=True, check=False)
    print("\n".join((done.stdout + done.stderr).splitlines()[-6:]))
    pictures = sorted((folder / "demo").glob("*.jpg"))
    if done.returncode or len(pictures) < 5:
        sys.exit(f"The demo of the installed wheel ended with {done.returncode} and {len(pictures)} pictures.")
    print(f"demo: {len(pictures)} pictures in {time.time() - start:.0f} s, outside the repository, with an empty home")


if __name__ == "__main__":
    raise SystemExit(main())
