//! Every process of a container's life, killed at every step of it: see `tests/table`.
