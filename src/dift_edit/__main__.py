"""``python -m dift_edit`` is the command line."""

from dift_edit.cli import main

raise SystemExit(main())
