//! Owns every maximum of the data plane and the sum of its memory.

/// Slots of a log are this many bytes: one cache line of description and the packet.
pub const SLOT_BYTES: usize = 1408;

/// Most bytes of one RTP payload in the log.
pub const PAYLOAD_MAX: usize = SLOT_BYTES - 64;

/// Most workers. Bound of the per-reader arrays in shared memory.
pub const CORES_MAX: usize = 64;

/// What one node may hold. All memory is reserved at start from these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Workers, 1 to [`CORES_MAX`].
    pub cores: u16,
    /// Streams at once.
    pub streams_max: u32,
    /// Viewers at once, all cores together.
    pub viewers_max: u32,
    /// Packets that a log holds, a power of two. 16,384 are 10 s of 10 Mbit/s.
    pub log_packets: u32,
    /// Commands on their way to one worker, a power of two.
    pub commands_max: u32,
    /// Events on their way from one worker, a power of two.
    pub events_max: u32,
    /// Handshake datagrams on their way, each direction, one worker; a power of two.
    pub punts_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cores: 1,
            streams_max: 64,
            viewers_max: 16_384,
            log_packets: 16_384,
            commands_max: 256,
            events_max: 1024,
            punts_max: 256,
        }
    }
}
