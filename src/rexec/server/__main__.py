"""The server's own process; `rexec serve` becomes it. What only a command line needs is not in its memory."""

import sys

from rexec.server.serving import main

sys.exit(main())
