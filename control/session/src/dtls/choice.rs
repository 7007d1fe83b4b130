//! Owns the choice of an engine for a ClientHello.

use super::hello::Hello;
use super::{EngineKind, Failure, dimpl};
use wire::srtp::Profile;

/// Chooses the engine that gets the cheapest SRTP profile, and of equals the newer protocol.
///
/// OpenSSL lets us name our order; dimpl takes the client's first. A viewer's packets cost far
/// more over its stay than its handshake: Chromium, which names `SHA1_80` first, is worth DTLS 1.2.
///
/// # Errors
/// When nothing that is offered will do.
pub(super) fn choose(hello: &Hello, prefer_dtls13: bool) -> Result<EngineKind, Failure> {
    let best = PROFILES
        .iter()
        .find(|profile| hello.profiles.contains(profile));
    let Some(best) = best else {
        return Err(Failure::Profile);
    };
    let by_dimpl = hello
        .profiles
        .iter()
        .find(|profile| dimpl::PROFILES.contains(profile));
    let dtls13 = hello.dtls13 && by_dimpl.is_some();
    match (dtls13, hello.dtls12) {
        (true, true) if prefer_dtls13 || by_dimpl == Some(best) => Ok(EngineKind::Dtls13),
        (_, true) => Ok(EngineKind::Dtls12),
        (true, false) => Ok(EngineKind::Dtls13),
        (false, false) => Err(Failure::Version),
    }
}

/// What we would like, dearest last: costs of sealing 1,200 bytes rise from 1 by 1.1 to 3 and more.
pub(super) const PROFILES: [Profile; 4] = [
    Profile::AeadAes128Gcm,
    Profile::AeadAes256Gcm,
    Profile::Aes128CmSha1_80,
    Profile::Aes128CmSha1_32,
];
