"""What a run writes: the output folder, names of files, manifest rows, the journal."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
