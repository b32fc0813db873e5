"""``python -m befit.keras2 script.py ARGS`` runs a script that was written for Keras 2."""

import sys

from befit.errors import BefitError
from befit.keras2.running import run_script

if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
    sys.exit("usage: python -m befit.keras2 [-m] SCRIPT [ARGUMENT ...]")
try:
    if sys.argv[1] == "-m" and len(sys.argv) > 2:
        sys.exit(run_script(sys.argv[2], sys.argv[3:], is_module=True))
    sys.exit(run_script(sys.argv[1], sys.argv[2:]))
except BefitError as error:
    sys.exit(f"befit.keras2: {error}")
