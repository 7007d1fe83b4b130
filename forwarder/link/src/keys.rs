//! Owns key material in flight: from the handshake, through one command, to `seal`.

pub use wire::srtp::Profile;
use zeroize::Zeroize;

/// A master key and its salt; unused bytes are zero. Neither printable nor comparable.
#[derive(Clone, Copy, Default, Zeroize)]
#[repr(C)]
pub struct MasterKey {
    /// The master key: 16 bytes, or 32 for AES-256.
    pub key: [u8; 32],
    /// The master salt: 14 bytes, or 12 for GCM.
    pub salt: [u8; 14],
}

/// Keys of one SRTP association, as one end sees them.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct SrtpKeys {
    /// The profile of both directions.
    pub profile: Profile,
    /// What we protect with.
    pub send: MasterKey,
    /// What the peer protects with.
    pub receive: MasterKey,
}

impl Zeroize for SrtpKeys {
    fn zeroize(&mut self) {
        self.send.zeroize();
        self.receive.zeroize();
    }
}
