"""Zero-shot learning from raw images to generalised results, as a DVC pipeline."""

import os

# torch's threads spin while they wait for each other, and one busy process beside them makes every step wait; the
# variable is read when torch is loaded, so stages, tests and benchmarks import this package before all else
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
