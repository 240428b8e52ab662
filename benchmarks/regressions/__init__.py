"""What asv watches from commit to commit: seconds, peak memory and numbers of tasks of the same cases as the other benchmarks."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
