"""Try what `python -m build` made: sizes, contents, the same wheel from the sdist, the demo in a bare environment."""

import argparse
import hashlib
import os
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
    parser.add_argument("--no-install", action="store_true", help="leave out the demo in a bare environment")
    parser.add_argument("--python", type=Path, default=sys.executable, help="of the bare environment")
    parser.add_argument("--no-constraints", action="store_true", help="there with the newest dependencies")
    args = parser.parse_args()
    (wheel,), (sdist,) = args.folder.glob("*.whl"), args.folder.glob("*.tar.gz")
    for archive in (wheel, sdist):
        size = archive.stat().st_size
        print(f"{archive.name}: {size / 1e6:.1f} MB")
        if size > LIMIT:
            sys.exit(f"{archive} has {size / 1e6:.0f} MB, more than {LIMIT / 1e6:.0f}: leave something out.")
    _check_contents(wheel, sdist)
    _check_rebuilt(wheel, sdist)
    if not args.no_install:
        with tempfile.TemporaryDirectory() as folder:
            _try(wheel.resolve(), Path(folder), args.python, not args.no_constraints)
    return 0


def _check_contents(wheel: Path, sdist: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    missing = [name for name in NEEDED if name not in inside]
    stray = [name for name in inside if name.endswith((".pyc", ".orig", ".rej")) or name.startswith("tests/")]
    if missing or stray:
        sys.exit(f"{wheel}: missing {missing}, stray {stray}")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("pyproject.toml", "src/dift_edit/__init__.py", "tests/conftest.py", "LICENSE", "CONTRIBUTING.md"):
        if name not in names:
            sys.exit(f"{sdist}: {name} is missing")


def _check_rebuilt(wheel: Path, sdist: Path) -> None:
    """Build a wheel from the unpacked sdist, elsewhere and at another hour: it has to be the same to the byte."""
    with tempfile.TemporaryDirectory() as name:
        with tarfile.open(sdist) as archive:
            archive.extractall(name, filter="data")
        (source,) = Path(name).iterdir()
        command = [sys.executable, "-m", "build", "--wheel", "--outdir", name, source]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "TZ": "UTC-9"})
        if done.returncode:
            sys.exit(f"{sdist} builds no wheel: {done.stderr[-2000:]}")
        again = Path(name) / wheel.name
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (wheel, again)]
    if digests[0] != digests[1]:
        sys.exit(f"{wheel} is not reproducible: built again from {sdist.name} it has the SHA-256 {digests[1]}.")
    print(f"{wheel.name}: SHA-256 {digests[0]}, the same when built again from the sdist")


def _try(wheel: Path, folder: Path, base: Path, constrained: bool) -> None:
    python = folder / "environment" / "bin" / "python"
    start = time.time()
    subprocess.run([base, "-m", "venv", python.parents[1]], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    more = ["-c", REPOSITORY / "constraints.txt"] if constrained else []
    subprocess.run([*pip, *more, wheel], check=True)
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"installed with {version} in {time.time() - start:.0f} s")
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
