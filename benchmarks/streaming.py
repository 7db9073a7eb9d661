"""The whole stream in one run on one machine: `python -m benchmarks.streaming` measures the producer, then the sink.

Each is a process of its own and has options of its own: see `benchmarks.streaming_producer` and
`benchmarks.streaming_sink`. Ends with 1 if a target of the sink is missed.
"""

import subprocess
import sys

PARTS = ("benchmarks.streaming_producer", "benchmarks.streaming_sink")


def main() -> None:
    """Run the parts one after the other, so that neither disturbs the other."""
    codes = [subprocess.run([sys.executable, "-m", part], check=False).returncode for part in PARTS]
    sys.exit(any(codes))


if __name__ == "__main__":
    main()
