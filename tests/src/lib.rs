//! Owns the tools of the whole-system tests: servers, publishers, browsers, viewers, bad networks.
