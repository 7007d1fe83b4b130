//! Owns the model of pin and append for loom.
