//! Owns which layers of a stream's video a viewer wants.

use crate::refusal::SignalError;
use crate::session::Kind;
use crate::sessions::Sessions;
use crate::signalling::unknown_session;

/// What a viewer may be sent of the video of a stream that has layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// This lane; `None`: the best that its path carries.
    pub lane: Option<u8>,
    /// No spatial layer above this one within the lane; 255: all.
    pub spatial_max: u8,
    /// No temporal layer above this one; 255: all.
    pub temporal_max: u8,
}

impl Pin {
    /// The best that the path carries.
    pub const NONE: Self = Self {
        lane: None,
        spatial_max: u8::MAX,
        temporal_max: u8::MAX,
    };
}

impl Sessions {
    /// Lets a viewer have these layers, from now on and on whichever worker.
    ///
    /// # Errors
    /// 404: no such session, or it is a publisher's.
    pub fn choose_layer(&mut self, id: &str, pin: Pin) -> Result<(), SignalError> {
        let index = self.table.by_id(id).ok_or_else(unknown_session)?;
        let session = self.table.get_mut(index);
        let session = session.filter(|session| session.kind() == Kind::Viewer);
        session.ok_or_else(unknown_session)?.pin = pin;
        Ok(())
    }
}
