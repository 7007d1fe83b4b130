//! Owns the memory while the planes come and go: serves it over a Unix socket, notices deaths.
