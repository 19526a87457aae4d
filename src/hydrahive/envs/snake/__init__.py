"""Snake as Numba kernels over arrays, with ai-hydra's rules as one choice of options."""
