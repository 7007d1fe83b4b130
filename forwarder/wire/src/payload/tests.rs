//! Vectors laid out by hand and taken from a browser; properties.
