"""Benchmarks against other packages. They print ratios within one run: `make bench`."""

import os

# One thread each, before numpy is loaded; worker processes inherit it.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
