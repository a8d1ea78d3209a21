"""`python -m act3d`."""

import sys

from act3d.cli import main

sys.exit(main())
