"""``python -m befit`` is the ``befit`` command."""

import sys

from befit.cli.main import main

sys.exit(main())
