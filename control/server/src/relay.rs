//! Owns the relays: streams that this node fetches from others by WHEP, or sends to others by WHIP,
//! again and again until somebody wants it no more.

mod failure;
mod http;
mod one;
mod reach;
mod roots;
mod rules;
mod runner;
mod status;
mod table;
mod url;

pub use http::RELAY_HEADER;
pub use one::NewRelay;
pub use status::{Direction, RelayView};
pub use table::{Refusal, Relays};
pub use url::check as check_url;
