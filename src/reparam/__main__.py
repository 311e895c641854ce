"""``python -m reparam`` is the command ``reparam``."""

from reparam.cli.main import main

raise SystemExit(main())
