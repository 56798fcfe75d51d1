"""Start the granter or the helper: `python -I boot.py [--openpgp] ARGUMENT...`.

Isolated mode (-I) takes nothing from the environment or the working directory; this
file adds just the directory that the listener's own code came from.
"""

import os
import sys

if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(os.path.dirname(here))
    # Last: installed packages are found as usual, a checkout is found as well.
    sys.path[:0] = [root, os.path.dirname(root)]
    arguments = sys.argv[1:]
    if arguments[0] == "--openpgp":
        from spassh_server.openpgp.helper import main

        del arguments[0]
    else:
        from spassh_server.privsep.granter import main

    sys.exit(main(arguments))
