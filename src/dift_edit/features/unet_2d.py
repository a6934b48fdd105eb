"""The classes of pixel diffusion without what comes with them: a compiler, transformers and all of diffusers' other
networks.

The classes need none of them, and importing them takes more than half of the time. All can still be imported
afterwards, by whoever needs them. Import this module only where a network is loaded.
"""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["DDIMScheduler", "UNet2DModel", "load_scheduler"]

_MODULE = "diffusers.models.unets.unet_2d"
_PACKAGES = ("diffusers.models.unets", "diffusers.models.transformers")
_QUANTIZERS = ("diffusers.quantizers.pipe_quant_config", "diffusers.quantizers")
"""Modules that remember that there was no transformers: whoever wants them gets new ones."""


def _unet_2d_class() -> Any:
    if not any(name in sys.modules for name in (_MODULE, *_PACKAGES, *_QUANTIZERS)):
        try:
            with _alone():
                importlib.import_module(_MODULE)
        except Exception:  # noqa: BLE001 - another version of diffusers may need what was left out
            sys.modules.pop(_MODULE, None)
    return importlib.import_module(_MODULE).UNet2DModel


@contextmanager
def _alone() -> Iterator[None]:
    """While it lasts, modules of the packages are imported without the packages' own code, which imports all networks;
    and what is optional and not imported yet cannot be.
    """
    hidden = []

    def hide(name: str) -> None:
        if name not in sys.modules:
            sys.modules[name] = None  # type: ignore[assignment]
            hidden.append(name)

    try:
        hide("torch._dynamo")
        importlib.import_module("diffusers.utils")  # looks once for what is installed, transformers too
        hide("transformers")
        for name in _PACKAGES:
            spec = importlib.util.find_spec(name)
            if spec is not None:
                sys.modules[name] = importlib.util.module_from_spec(spec)
        yield
    finally:
        for name in (*hidden, *_PACKAGES, *_QUANTIZERS):
            sys.modules.pop(name, None)


UNet2DModel: Any = _unet_2d_class()
"""The class ``diffusers.UNet2DModel`` itself."""
DDIMScheduler: Any = importlib.import_module("diffusers.schedulers.scheduling_ddim").DDIMScheduler
"""The class ``diffusers.DDIMScheduler`` itself."""


def load_scheduler(folder: Path) -> Any:
    """The noise schedule of a diffusers folder. ``DDIMScheduler.from_pretrained`` would look at every scheduler of
    diffusers first, one of which imports scipy's statistics.

    Parameters
    ----------
    folder : path
        Holds ``scheduler_config.json``, of any scheduler that says how its betas are made.

    Raises
    ------
    OSError, ValueError, TypeError
        If the file cannot be read or is not such a configuration.
    """
    config = DDIMScheduler.load_config(folder, local_files_only=True)
    known = inspect.signature(DDIMScheduler).parameters
    return DDIMScheduler(**{name: value for name, value in config.items() if name in known})
