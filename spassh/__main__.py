"""`python -m spassh` is `spassh`."""

import sys

from .cli import main

sys.exit(main())
