//! Owns a synthetic viewer.
