//! Owns the file of static flows: what may be written in it, and what it means.

use core::fmt;
use link::command::{self, AddPublisher, AddViewer, Codec, ICE_PWD_BYTES, ICE_UFRAG_BYTES};
use link::command::{IceCredentials, TRACKS_MAX, TrackOut};
use link::ids::{StreamId, ViewerId};
use link::keys::{MasterKey, Profile, SrtpKeys};
use serde::{Deserialize, Deserializer};
use std::net::{IpAddr, SocketAddr};
use wire::peer::Ip;
use zeroize::{Zeroize, Zeroizing};

/// Spreads the first timestamps of tracks, which are to look random (RFC 3550 section 5.1).
const TIMESTAMP_SPREAD: u32 = 0x9e37_79b1;

/// A file of flows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The UDP address of the forwarder.
    #[serde(default = "listen")]
    pub listen: SocketAddr,
    /// Workers. More than one only without publishers.
    #[serde(default = "one")]
    pub cores: u16,
    /// `mmsg` or `uring`; absent: whichever is better.
    pub backend: Option<String>,
    /// `udp` or `xdp`; absent: `udp`.
    pub transmit: Option<String>,
    /// `vaes512`, `vaes` or `ring`; absent: the fastest that the machine can run.
    pub cipher: Option<String>,
    /// Microseconds that a worker spins before it sleeps.
    #[serde(default)]
    pub spin_us: u64,
    /// Seconds between two printings of the counters; 0: never.
    #[serde(default = "ten")]
    pub report_s: u64,
    /// Packets that a log holds, a power of two.
    #[serde(default = "log_packets")]
    pub log_packets: u32,
    /// The streams.
    #[serde(default, rename = "stream")]
    pub streams: Vec<Stream>,
    /// The viewers.
    #[serde(default, rename = "viewer")]
    pub viewers: Vec<Viewer>,
}

/// A stream, and who feeds it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// What viewers call it.
    pub name: String,
    /// Its publisher; absent: another process writes its log.
    pub publisher: Option<Publisher>,
}

/// Where a stream comes from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publisher {
    /// Its address.
    pub peer: SocketAddr,
    /// How it protects its packets; absent: not at all.
    #[serde(default)]
    pub profile: ProfileName,
    /// Its master key and salt.
    #[serde(default)]
    pub key: Hex,
    /// Its video track.
    pub video: Option<TrackIn>,
    /// Its audio track.
    pub audio: Option<TrackIn>,
}

/// A track of a publisher.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrackIn {
    /// Its SSRC.
    pub ssrc: u32,
    /// Its RTP clock in Hz.
    pub clock_hz: u32,
    /// Its codec, if it is video whose keyframes are to be told.
    #[serde(default)]
    pub codec: CodecName,
}

/// A viewer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Viewer {
    /// The name of its stream.
    pub stream: String,
    /// Its address.
    pub peer: SocketAddr,
    /// Our address to send from; absent: the system chooses.
    pub local: Option<IpAddr>,
    /// How packets are protected, both ways; absent: not at all.
    #[serde(default)]
    pub profile: ProfileName,
    /// Our master key and salt.
    #[serde(default)]
    pub send_key: Hex,
    /// Its master key and salt.
    #[serde(default)]
    pub receive_key: Hex,
    /// Our ICE username fragment, 16 characters.
    #[serde(default)]
    pub ufrag: String,
    /// Our ICE password, 24 characters.
    #[serde(default)]
    pub pwd: String,
    /// How it wants video.
    pub video: Option<Track>,
    /// How it wants audio.
    pub audio: Option<Track>,
}

/// How a viewer wants a track.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Track {
    /// SSRC of the media.
    pub ssrc: u32,
    /// Payload type of the media.
    pub payload_type: u8,
    /// RTP clock in Hz.
    pub clock_hz: u32,
    /// SSRC of retransmissions; absent: packets are sent again as they were.
    #[serde(default)]
    pub rtx_ssrc: u32,
    /// Payload type of retransmissions.
    #[serde(default)]
    pub rtx_payload_type: u8,
}

/// Names of protection profiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProfileName {
    /// Plain RTP.
    #[default]
    Plain,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`.
    AesCmSha1_80,
    /// `SRTP_AES128_CM_HMAC_SHA1_32`.
    AesCmSha1_32,
    /// `SRTP_AEAD_AES_128_GCM`.
    AesGcm128,
    /// `SRTP_AEAD_AES_256_GCM`.
    AesGcm256,
}

/// Names of codecs.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodecName {
    /// Any packet counts as one to begin at.
    #[default]
    Unknown,
    /// H.264.
    H264,
    /// H.265.
    H265,
}

/// Bytes, written as hexadecimal digits. Not printable: they are keys.
#[derive(Clone, Default)]
pub struct Hex(Vec<u8>);

impl Drop for Hex {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(from)?);
        let digit = |byte: u8| {
            char::from(byte)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes = pairs
            .iter()
            .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
        let bytes: Option<Vec<u8>> = bytes.collect();
        match bytes {
            Some(bytes) if rest.is_empty() => Ok(Self(bytes)),
            _ => Err(serde::de::Error::custom(
                "a key is an even number of hexadecimal digits",
            )),
        }
    }
}

impl ProfileName {
    fn profile(self) -> Profile {
        match self {
            Self::Plain => Profile::Plain,
            Self::AesCmSha1_80 => Profile::Aes128CmSha1_80,
            Self::AesCmSha1_32 => Profile::Aes128CmSha1_32,
            Self::AesGcm128 => Profile::AeadAes128Gcm,
            Self::AesGcm256 => Profile::AeadAes256Gcm,
        }
    }
}

impl File {
    /// Reads a file's text.
    ///
    /// # Errors
    /// What is wrong, with its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        let names: Vec<&str> = file.streams.iter().map(|s| s.name.as_str()).collect();
        if let Some(viewer) = file
            .viewers
            .iter()
            .find(|v| !names.contains(&v.stream.as_str()))
        {
            return Err(format!(
                "a viewer wants stream {:?}, which is not here",
                viewer.stream
            ));
        }
        if file.cores > 1 && file.streams.iter().any(|s| s.publisher.is_some()) {
            return Err(
                "the kernel chooses the core that a publisher's packets come to: with \
                        publishers, choose cores = 1"
                    .to_owned(),
            );
        }
        Ok(file)
    }
}

impl Publisher {
    /// The command that takes it.
    pub(super) fn command(&self, stream: StreamId) -> Result<AddPublisher, String> {
        let track = |track: Option<TrackIn>| {
            track.map_or(command::TrackIn::default(), |track| command::TrackIn {
                ssrc: track.ssrc,
                clock_hz: track.clock_hz,
                codec: match track.codec {
                    CodecName::H264 => Codec::H264,
                    CodecName::H265 => Codec::H265,
                    _ => Codec::Unknown,
                },
                ..command::TrackIn::default()
            })
        };
        Ok(AddPublisher {
            stream,
            viewer: None,
            peer: self.peer.into(),
            keys: SrtpKeys {
                profile: self.profile.profile(),
                send: MasterKey::default(),
                receive: master(self.profile, &self.key)?,
            },
            audio: command::Origin::default(),
            lanes: [
                track(self.video),
                track(self.audio),
                track(None),
                track(None),
            ],
            rid_id: 0,
            repaired_rid_id: 0,
            transport_cc_id: 0,
            remb_bps: 0,
        })
    }
}

impl Viewer {
    /// The command that serves it from the packet numbers `leases` on (see `link::viewer::Lease`).
    pub(super) fn command(
        &self,
        viewer: ViewerId,
        stream: StreamId,
        leases: [u64; link::viewer::LEASES],
    ) -> Result<AddViewer, String> {
        let [video, video_rtx, audio, audio_rtx, rtcp] = leases;
        let firsts = [(video, video_rtx), (audio, audio_rtx)];
        let mut tracks = [TrackOut::default(); TRACKS_MAX];
        for ((out, track), (first, rtx_first)) in
            tracks.iter_mut().zip([self.video, self.audio]).zip(firsts)
        {
            let Some(track) = track else { continue };
            *out = TrackOut {
                ssrc: track.ssrc,
                rtx_ssrc: track.rtx_ssrc,
                clock_hz: track.clock_hz,
                payload_type: track.payload_type,
                rtx_payload_type: track.rtx_payload_type,
                // The same after a restart.
                timestamp_offset: track.ssrc.wrapping_mul(TIMESTAMP_SPREAD),
                first_index: first,
                rtx_first_index: rtx_first,
                ..TrackOut::default()
            };
        }
        Ok(AddViewer {
            viewer,
            stream,
            peer: self.peer.into(),
            local: self.local.map_or(Ip::UNKNOWN, Ip::from),
            ice: IceCredentials {
                ufrag: text::<ICE_UFRAG_BYTES>("ufrag", &self.ufrag)?,
                pwd: text::<ICE_PWD_BYTES>("pwd", &self.pwd)?,
            },
            keys: SrtpKeys {
                profile: self.profile.profile(),
                send: master(self.profile, &self.send_key)?,
                receive: master(self.profile, &self.receive_key)?,
            },
            tracks,
            rtcp_first_index: rtcp,
            encoding: None,
        })
    }
}

/// Key and salt from one row of bytes.
fn master(name: ProfileName, hex: &Hex) -> Result<MasterKey, String> {
    let profile = name.profile();
    let (key, salt) = (profile.key_bytes(), profile.salt_bytes());
    if hex.0.len() != key + salt {
        let (have, want) = (hex.0.len(), key + salt);
        return Err(format!(
            "{name:?} wants {key} + {salt} = {want} bytes of key, not {have}"
        ));
    }
    let mut master = MasterKey::default();
    master.key[..key].copy_from_slice(&hex.0[..key]);
    master.salt[..salt].copy_from_slice(&hex.0[key..]);
    Ok(master)
}

/// Exactly `N` characters, or none.
fn text<const N: usize>(name: &str, text: &str) -> Result<[u8; N], String> {
    if text.is_empty() {
        return Ok([0; N]);
    }
    let bytes = text.as_bytes().try_into();
    bytes.map_err(|_| format!("{name} has {} characters, not {N}", text.len()))
}

fn listen() -> SocketAddr {
    SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 8000))
}

fn one() -> u16 {
    1
}

fn ten() -> u64 {
    10
}

fn log_packets() -> u32 {
    16_384
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOWS: &str = r#"
        listen = "127.0.0.1:0"
        [[stream]]
        name = "demo"
        [stream.publisher]
        peer = "127.0.0.1:5004"
        video = { ssrc = 7, clock_hz = 90000, codec = "h264" }
        [[viewer]]
        stream = "demo"
        peer = "127.0.0.1:6000"
        profile = "aes_gcm128"
        send_key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b"
        receive_key = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b"
        ufrag = "0123456789abcdef"
        video = { ssrc = 9, payload_type = 96, clock_hz = 90000 }
    "#;

    #[test]
    fn a_file_becomes_commands() {
        let file = File::parse(FLOWS).unwrap();
        assert_eq!((file.cores, file.spin_us, file.report_s), (1, 0, 10));
        let publisher = file.streams[0].publisher.as_ref().unwrap();
        let publisher = publisher.command(StreamId::default()).unwrap();
        let [video, audio, ..] = publisher.lanes;
        assert_eq!((video.ssrc, audio.ssrc, video.codec), (7, 0, Codec::H264));
        let viewer = file.viewers[0].command(
            ViewerId::default(),
            StreamId::default(),
            [10, 20, 30, 40, 50],
        );
        let viewer = viewer.unwrap();
        assert_eq!(viewer.keys.profile, Profile::AeadAes128Gcm);
        assert_eq!(viewer.keys.send.key[..2], [0, 1]);
        assert_eq!(viewer.keys.send.salt[..2], [16, 17]);
        assert_eq!(viewer.tracks[0].first_index, 10);
        assert_eq!(viewer.tracks[1].clock_hz, 0, "no audio");
        assert_eq!(viewer.rtcp_first_index, 50);
        assert_eq!(&viewer.ice.ufrag, b"0123456789abcdef");
    }

    #[test]
    fn mistakes_are_told() {
        for (find, replace, tells) in [
            ("name = \"demo\"", "name = \"other\"", "demo"),
            ("0001020304", "00010203", "27"),
            ("0001", "00x1", "hexadecimal"),
            ("0123456789abcdef", "short", "ufrag"),
            ("listen", "lisen", "lisen"),
            ("listen", "cores = 2\nlisten", "cores = 1"),
        ] {
            let text = FLOWS.replacen(find, replace, 1);
            let told = File::parse(&text).and_then(|file| {
                let ids = (ViewerId::default(), StreamId::default());
                file.viewers[0].command(ids.0, ids.1, [0; 5]).map(drop)
            });
            let told = told.unwrap_err();
            assert!(told.contains(tells), "{replace}: {told}");
        }
    }

    #[test]
    fn keys_do_not_print() {
        let printed = format!("{:?}", File::parse(FLOWS).unwrap());
        assert!(
            printed.contains("<28 bytes>") && !printed.contains("0e0f"),
            "{printed}"
        );
    }
}
