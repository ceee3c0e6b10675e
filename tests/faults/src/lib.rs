//! Kills every process of a container's life at every step of it: see `tests/table`.
