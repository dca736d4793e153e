"""``python -m bench.peers install`` installs the peers from their locks; ``lock`` writes the locks anew."""

from __future__ import annotations

import subprocess
import sys

from bench import peers

if __name__ == "__main__":
    commands = {"install": peers.install, "lock": peers.lock}
    if sys.argv[1:] not in ([name] for name in commands):
        sys.exit(__doc__)
    try:
        commands[sys.argv[1]]()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.cmd[0]} failed with {error.returncode}")
