//! Owns the passing of descriptors over a Unix socket, where they turn from numbers into owners.
