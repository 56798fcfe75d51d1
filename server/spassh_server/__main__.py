"""`python -m spassh_server` is spasshd."""

import sys

from .cli import main

sys.exit(main())
