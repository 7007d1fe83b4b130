//! Vectors, round trips, lies.
