//! Owns the tools of the whole-system tests: servers, publishers, browsers, viewers, bad networks.
#![forbid(unsafe_code)]

pub mod browser;
pub mod events;
pub mod front;
pub mod http;
pub mod impair;
pub mod marionette;
pub mod netns;
pub mod place;
pub mod process;
pub mod publish;
pub mod random;
pub mod server;
pub mod sim;
pub mod soak;
pub mod swarm;
pub mod tap;
pub mod viewer;
pub mod wait;
pub mod webdriver;
pub mod world;
