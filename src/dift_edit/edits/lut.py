"""Three-dimensional colour tables in Adobe's .cube format."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from dift_edit.atomic_files import write_text
from dift_edit.errors import EditError

__all__ = ["CubeLut"]

Floats = npt.NDArray[np.float32]

_MAX_SIZE = 129
"""Entries along an edge; the Adobe Cube LUT specification allows 256, tables in use have 17 to 65 (chosen)."""
_LARGEST = 1e6
"""Greatest number of a table (chosen)."""
_LEAST_DOMAIN = 1e-6
"""Least width of a domain (chosen)."""


@dataclass(frozen=True, eq=False)
class CubeLut:
    """A table from colour to colour, interpolated between its nodes.

    Attributes
    ----------
    table : ndarray
        (N, N, N, 3) float32, indexed [blue, green, red]: the colour at each node.
    domain : ((r, g, b), (r, g, b))
        Lowest and highest input.
    title : str
        From the file.
    """

    table: Floats
    domain: tuple[tuple[float, float, float], tuple[float, float, float]] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    title: str = ""

    def __post_init__(self) -> None:
        shape = self.table.shape
        if len(shape) != 4 or shape[3] != 3 or len(set(shape[:3])) != 1 or not 2 <= shape[0] <= _MAX_SIZE:
            raise EditError(f"A colour table must be (N, N, N, 3) with N from 2 to {_MAX_SIZE}, but is {shape}.")
        if not np.isfinite(self.table).all():
            raise EditError("A colour table must have finite values.")
        low, high = np.array(self.domain, np.float64)
        if not (np.isfinite([low, high]).all() and (high - low >= _LEAST_DOMAIN).all()):
            raise EditError(f"The colour table's domain {self.domain} is empty: DOMAIN_MIN must be below DOMAIN_MAX.")
        if max(np.abs([low, high]).max(), float(np.abs(self.table).max())) > _LARGEST:
            raise EditError(f"A colour table must have values between -{_LARGEST:g} and {_LARGEST:g}.")

    @classmethod
    def from_file(cls, path: Path | str) -> "CubeLut":
        """Read a .cube file.

        Parameters
        ----------
        path : path
            A text file with LUT_3D_SIZE and as many rows of three numbers, red changing fastest.

        Returns
        -------
        CubeLut

        Raises
        ------
        EditError
            If it is missing or anything in it is not as the format says; the message names the line.

        References
        ----------
        Adobe, "Cube LUT Specification", version 1.0, 2013.
        """
        path = Path(path)
        if path.exists() and not path.is_file():
            raise EditError(f"{path} is no regular file: give a .cube file.")
        try:
            text = path.read_text("utf-8-sig")
        except FileNotFoundError as error:
            raise EditError(f"{path} does not exist: check the path of the colour table.") from error
        except (OSError, UnicodeDecodeError) as error:
            raise EditError(f"{path} cannot be read as text: give a .cube file.") from error
        return _parse(text, str(path))

    def __call__(self, colors: Floats) -> Floats:
        """Map colours.

        Parameters
        ----------
        colors : ndarray
            (h, w, 3) sRGB in [0, 1]; outside the domain the nearest colour inside counts.

        Returns
        -------
        ndarray
            (h, w, 3) float32, trilinear between nodes.
        """
        low, high = np.array(self.domain, np.float32)
        grid = torch.from_numpy(np.asarray((colors - low) / (high - low) * 2 - 1, dtype=np.float32))[None, None]
        volume = torch.from_numpy(np.ascontiguousarray(self.table.transpose(3, 0, 1, 2), dtype=np.float32))[None]
        mapped = F.grid_sample(volume, grid, mode="bilinear", padding_mode="border", align_corners=True)
        return np.asarray(mapped[0, :, 0].permute(1, 2, 0).numpy())

    def save(self, path: Path | str) -> None:
        """Write it as a .cube file."""
        lines = [f'TITLE "{self.title}"'] if self.title else []
        lines.append(f"LUT_3D_SIZE {len(self.table)}")
        lines += [
            f"DOMAIN_{end} {' '.join(f'{v:g}' for v in values)}"
            for end, values in zip(("MIN", "MAX"), self.domain, strict=True)
        ]
        lines += [" ".join(f"{value:.7g}" for value in row) for row in self.table.reshape(-1, 3)]
        write_text(path, "\n".join(lines) + "\n")


def _parse(text: str, name: str) -> CubeLut:
    keywords: dict[str, tuple[str, ...]] = {}
    title = ""
    rows: list[tuple[float, float, float]] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        where = f"{name}, line {number}"
        if not line or line.startswith("#"):
            continue
        word, *rest = line.split()
        if word == "TITLE":
            title = line[5:].strip()
            if len(title) < 2 or title[0] != '"' or title[-1] != '"':
                raise EditError(f'{where}: the title must stand in double quotes, as TITLE "name".')
            title = title[1:-1]
        elif word[0].isalpha() and word.lower() not in ("nan", "inf", "infinity"):
            _keyword(keywords, word, tuple(rest), where, bool(rows))
        else:
            if "LUT_3D_SIZE" not in keywords:
                raise EditError(f"{where}: the size must come before the table, as LUT_3D_SIZE N.")
            if len(rows) == int(keywords["LUT_3D_SIZE"][0]) ** 3:
                raise EditError(f"{where}: the table has more rows than LUT_3D_SIZE says; correct one of them.")
            rows.append(_numbers(line.split(), where))
    if "LUT_3D_SIZE" not in keywords:
        raise EditError(f"{name} has no LUT_3D_SIZE: give a three-dimensional .cube table.")
    size = int(keywords["LUT_3D_SIZE"][0])
    if len(rows) != size**3:
        raise EditError(f"{name} has {len(rows)} rows of colours, but LUT_3D_SIZE {size} needs {size**3}.")
    low, high = (keywords.get(word) for word in ("DOMAIN_MIN", "DOMAIN_MAX"))
    table = np.array(rows, np.float32).reshape(size, size, size, 3)
    return CubeLut(
        table,
        (_numbers(low, name) if low else (0.0, 0.0, 0.0), _numbers(high, name) if high else (1.0, 1.0, 1.0)),
        title,
    )


def _keyword(keywords: dict[str, tuple[str, ...]], word: str, rest: tuple[str, ...], where: str, late: bool) -> None:
    if word in ("LUT_1D_SIZE", "LUT_1D_INPUT_RANGE"):
        raise EditError(f"{where}: {word} is of a one-dimensional table; give a three-dimensional one (LUT_3D_SIZE).")
    if word not in ("LUT_3D_SIZE", "DOMAIN_MIN", "DOMAIN_MAX", "LUT_3D_INPUT_RANGE"):
        raise EditError(f"{where}: {word} is no keyword of the .cube format; remove the line.")
    if word in keywords:
        raise EditError(f"{where}: {word} is given a second time; remove one.")
    if late:
        raise EditError(f"{where}: {word} must come before the table.")
    if word == "LUT_3D_SIZE":
        if len(rest) != 1 or not re.fullmatch("[0-9]{1,3}", rest[0]) or not 2 <= int(rest[0]) <= _MAX_SIZE:
            raise EditError(f"{where}: LUT_3D_SIZE must be one whole number from 2 to {_MAX_SIZE}.")
    elif word == "LUT_3D_INPUT_RANGE":
        if len(rest) != 2:
            raise EditError(f"{where}: LUT_3D_INPUT_RANGE must be two numbers.")
        keywords["DOMAIN_MIN"], keywords["DOMAIN_MAX"] = (rest[0],) * 3, (rest[1],) * 3
    else:
        _numbers(rest, where)
    keywords[word] = rest


def _numbers(words: list[str] | tuple[str, ...], where: str) -> tuple[float, float, float]:
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != 3 or not all(abs(value) <= _LARGEST for value in values):
        raise EditError(
            f"{where}: three finite numbers are needed, of at most {_LARGEST:g}, but it says {' '.join(words)[:60]!r}."
        )
    return values[0], values[1], values[2]
