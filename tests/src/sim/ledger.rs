//! Owns the account of everything that forwarders have ever sent to peers: no nonce twice, and
//! numbers that go on by one but where a forwarder has died.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use link::command::AddViewer;
use wire::datagram::DATAGRAM_MAX;
use wire::demux::{Class, classify};
use wire::peer::Ip;
use wire::rtp::Packet;
use wire::srtp::Profile;

use super::journal::Journal;

/// Numbers of a lane that are lost by a death at most: a worker leases 4,096 beyond the run that it
/// is about to send, of up to 64 packets.
const LOST_MAX: u64 = 4096 + 64;

/// What was sent to each peer. Every session of a run has an IP address of its own.
pub struct Ledger {
    peers: HashMap<Ip, Account>,
    journal: Journal,
    /// Packets of media that were looked at.
    pub packets: u64,
    /// Numbers that were left out after deaths.
    pub jumps: u64,
}

struct Account {
    keys: u64,
    profile: Profile,
    lanes: HashMap<u32, Lane>,
    /// Datagrams by SSRC and index.
    rtcp: HashMap<(u32, u32), u64>,
}

struct Lane {
    /// The index of the next packet that is new.
    next: u64,
    /// Workers that have died since the last packet: the next one may be further on.
    deaths: u64,
    /// What each packet was.
    sent: HashMap<u64, u64>,
}

impl Ledger {
    /// Nothing was sent yet.
    #[must_use]
    pub fn new(journal: Journal) -> Self {
        Self {
            peers: HashMap::new(),
            journal,
            packets: 0,
            jumps: 0,
        }
    }

    /// A worker is told to serve a peer.
    pub fn expect(&mut self, add: &AddViewer) {
        let keys = hash(&(&add.keys.send.key, &add.keys.send.salt));
        let account = self.peers.entry(add.peer.ip).or_insert_with(|| Account {
            keys,
            profile: add.keys.profile,
            lanes: HashMap::new(),
            rtcp: HashMap::new(),
        });
        if account.keys != keys {
            let peer = add.peer;
            self.journal.fault(format_args!("{peer:?} has two keys"));
        }
        for track in add.tracks.iter().filter(|track| track.clock_hz != 0) {
            let lanes = [
                (track.ssrc, track.first_index),
                (track.rtx_ssrc, track.rtx_first_index),
            ];
            for (ssrc, first) in lanes {
                let lane = account.lanes.entry(ssrc).or_insert_with(|| Lane {
                    next: first,
                    deaths: 0,
                    sent: HashMap::new(),
                });
                // A worker had let go of it already when its sidecar died before saying so.
                lane.deaths += u64::from(first > lane.next && lane.deaths == 0);
            }
        }
    }

    /// A forwarder has died: what it leased and did not use is never used.
    pub fn forwarder_died(&mut self) {
        let lanes = self
            .peers
            .values_mut()
            .flat_map(|one| one.lanes.values_mut());
        lanes.for_each(|lane| lane.deaths += 1);
    }

    /// Looks at a datagram that was sent.
    pub fn look(&mut self, to: Ip, datagram: &[u8]) {
        if datagram.len() > DATAGRAM_MAX {
            let bytes = datagram.len();
            self.journal
                .fault(format_args!("a datagram of {bytes} bytes"));
        }
        let class = classify(datagram);
        let verdict = match (class, self.peers.get_mut(&to)) {
            (Class::Stun | Class::Dtls, _) => Ok(None),
            (_, None) => Err(format!("{class:?} for {to:?}, whom nobody was told of")),
            (Class::Rtp, Some(account)) => account.rtp(datagram),
            (Class::Rtcp, Some(account)) => account.rtcp(datagram).map(|()| None),
            (Class::Unknown, _) => Err(format!("no known kind: {datagram:?}")),
        };
        match verdict {
            Ok(jump) => {
                self.packets += u64::from(class == Class::Rtp);
                self.jumps += u64::from(jump.is_some());
            }
            Err(what) => self.journal.fault(format_args!("sent to {to:?}: {what}")),
        }
    }
}

impl Account {
    /// How many numbers were left out before it, if any.
    fn rtp(&mut self, datagram: &[u8]) -> Result<Option<u64>, String> {
        let packet = Packet::parse_sealed(datagram).map_err(|error| format!("{error:?}"))?;
        let (ssrc, sequence) = (packet.ssrc(), packet.sequence());
        let lane = self.lanes.get_mut(&ssrc);
        let lane = lane.ok_or_else(|| format!("the SSRC {ssrc:#x} is not its own"))?;
        let expected = u16::try_from(lane.next & 0xffff).unwrap_or(0);
        let ahead = u64::from(sequence.wrapping_sub(expected));
        let is_new = ahead == 0 || ahead <= lane.deaths * LOST_MAX;
        if is_new {
            let index = lane.next + ahead;
            lane.sent.insert(index, hash(&datagram));
            lane.next = index + 1;
            lane.deaths = 0;
            return Ok((ahead > 0).then_some(ahead));
        }
        // Not the next: was it sent before?
        let index = (lane.next + ahead).checked_sub(0x1_0000);
        let before = index.and_then(|index| lane.sent.get(&index));
        match before {
            None => Err(format!(
                "{ssrc:#x} jumps from {expected:#x} to {sequence:#x}"
            )),
            Some(before) if *before != hash(&datagram) => Err(format!(
                "a nonce was used twice: SSRC {ssrc:#x}, index {index:?}"
            )),
            // What is asked for again goes by the source of retransmissions.
            Some(_) => Err(format!("{ssrc:#x} sends {sequence:#x} twice")),
        }
    }

    fn rtcp(&mut self, datagram: &[u8]) -> Result<(), String> {
        let tag = match self.profile {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 0,
            _ => 10,
        };
        let index = datagram.len().checked_sub(tag);
        let index = index.and_then(|end| datagram[..end].last_chunk());
        let (Some(index), Some(ssrc)) = (index, datagram.get(4..8)) else {
            return Err("too short for SRTCP".to_owned());
        };
        let (index, ssrc) = (u32::from_be_bytes(*index), big_endian(ssrc));
        match self.rtcp.insert((ssrc, index), hash(&datagram)) {
            None => Ok(()),
            Some(_) => Err(format!(
                "SRTCP index {index:#x} of {ssrc:#x} was used twice"
            )),
        }
    }
}

fn big_endian(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}
