//! Owns the cost of protecting one packet of 1,200 bytes: ours, libsrtp, bare `ring`, and bare
//! aws-lc. All of them copy the payload to where it is sealed, but for `freshet_vaes`,
//! `freshet_vaes512` and `aws_lc_out_of_place`, which read it where it is. With 1,000 keys each
//! packet is another viewer's. A run is several packets of one viewer: its figure is for all of
//! them.

use std::hint::black_box;
use std::time::Duration;

use aws_lc_rs::aead as aws_lc;
use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main,
};
use freshet_bench::PAYLOAD_BYTES;
use freshet_bench::rig::master;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use seal::oracle::Session;
use seal::{Cipher, Packet, Profile, Run, Sealer, Secret};
use wire::rtp::{HEADER_BYTES, Header};

const PROFILES: [(&str, Profile); 3] = [
    ("gcm128", Profile::AeadAes128Gcm),
    ("gcm256", Profile::AeadAes256Gcm),
    ("cm128_sha1_80", Profile::Aes128CmSha1_80),
];

const KEYS: [u32; 2] = [1, 1000];

const SSRC: u32 = 7;

/// Packets of one viewer that are sealed together.
const RUNS: [u16; 4] = [2, 3, 4, 9];

const PACKET_BYTES: u64 = (HEADER_BYTES + PAYLOAD_BYTES) as u64;

/// Keys in turn, and an index that grows by one with each round through them.
struct Turns<T> {
    keys: Vec<T>,
    at: usize,
    index: u64,
}

impl<T> Turns<T> {
    fn new(count: u32, make: impl Fn(u32) -> T) -> Self {
        Self {
            keys: (0..count).map(make).collect(),
            at: 0,
            index: 0,
        }
    }

    /// The next key, its index, and a header with that index.
    fn next(&mut self) -> (&mut T, u64, [u8; HEADER_BYTES]) {
        self.at += 1;
        if self.at >= self.keys.len() {
            self.at = 0;
            self.index += 1;
        }
        (&mut self.keys[self.at], self.index, header(self.index))
    }
}

fn header(index: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let fields = Header {
        sequence: u16::try_from(index & 0xffff).expect("masked"),
        ssrc: SSRC,
        ..Header::default()
    };
    let _ = fields.write(&[], &mut header);
    header
}

/// As many packets of the next key, one behind the other.
fn run(keys: &mut Turns<Sealer>, packets: u16, payload: &[u8], slot: &mut [u8]) -> usize {
    let (sealer, index, _) = keys.next();
    let (mut run, mut used) = (Run::default(), 0);
    for nth in 0..u64::from(packets) {
        let index = index * u64::from(packets) + nth;
        let packet = Packet {
            index,
            header: &header(index),
            parts: [payload, &[]],
        };
        let room = used..slot.len();
        let sealed = sealer.rtp_of_run(&mut run, &packet, slot, room);
        used += sealed.expect("there is room");
    }
    sealer.finish_run(&mut run, slot);
    used
}

fn secret(profile: Profile, n: u32) -> Secret {
    let keys = master(n);
    let (key, salt) = (profile.key_bytes(), profile.salt_bytes());
    Secret::new(profile, &keys.key[..key], &keys.salt[..salt]).expect("the right lengths")
}

fn sealing(criterion: &mut Criterion) {
    let payload = [0x5a_u8; PAYLOAD_BYTES];
    for (name, profile) in PROFILES {
        let mut group = criterion.benchmark_group(format!("seal/{name}"));
        group
            .throughput(Throughput::Bytes(PACKET_BYTES))
            .sample_size(30)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_millis(1500));
        for count in KEYS {
            let mut out = [0; 1500];
            let ciphers = Cipher::ALL
                .into_iter()
                .filter(|cipher| cipher.is_available());
            for cipher in ciphers {
                let keys = |n| {
                    Sealer::with(&secret(profile, n), cipher).expect("a key of the right length")
                };
                let mut ours = Turns::new(count, keys);
                group.bench_function(format!("freshet_{cipher}/{count}"), |bencher| {
                    bencher.iter(|| {
                        let (sealer, index, header) = ours.next();
                        black_box(sealer.rtp(index, &header, black_box(&payload), &mut out))
                    });
                });
                let mut ours = Turns::new(count, keys);
                for packets in RUNS {
                    let name = format!("freshet_{cipher}_run_of_{packets}/{count}");
                    let mut slot = vec![0; 1500 * usize::from(packets)];
                    group.throughput(Throughput::Bytes(PACKET_BYTES * u64::from(packets)));
                    group.bench_function(name, |bencher| {
                        bencher.iter(|| run(&mut ours, packets, black_box(&payload), &mut slot));
                    });
                }
                group.throughput(Throughput::Bytes(PACKET_BYTES));
            }
            let mut theirs = Turns::new(count, |n| {
                let mut session = Session::new(&secret(profile, n)).expect("libsrtp knows it");
                assert!(session.add(SSRC, 0), "a new SSRC");
                session
            });
            let mut packet = Vec::with_capacity(2048);
            group.bench_function(format!("libsrtp/{count}"), |bencher| {
                bencher.iter(|| {
                    let (session, _, header) = theirs.next();
                    packet.clear();
                    packet.extend_from_slice(&header);
                    packet.extend_from_slice(black_box(&payload));
                    assert!(
                        session.protect(&mut packet),
                        "libsrtp seals what is in order"
                    );
                });
            });
            if profile != Profile::Aes128CmSha1_80 {
                libraries(&mut group, profile, count, &payload);
            }
        }
        group.finish();
    }
}

/// Libraries without SRTP around them.
fn libraries(
    group: &mut BenchmarkGroup<'_, WallTime>,
    profile: Profile,
    count: u32,
    payload: &[u8; PAYLOAD_BYTES],
) {
    let mut out = [0; 1500];
    group.bench_function(format!("ring/{count}"), |bencher| {
        let mut keys = Turns::new(count, |n| bare(profile, n));
        bencher.iter(|| {
            let (key, index, header) = keys.next();
            out[..PAYLOAD_BYTES].copy_from_slice(black_box(payload));
            bare_seal(key, index, &header, &mut out[..PAYLOAD_BYTES])
        });
    });
    group.bench_function(format!("aws_lc_out_of_place/{count}"), |bencher| {
        let mut keys = Turns::new(count, |n| aws_lc_key(profile, n));
        bencher.iter(|| {
            let (key, index, header) = keys.next();
            aws_lc_seal(key, index, &header, black_box(payload), &mut out)
        });
    });
}

/// What one viewer's keys cost when it joins.
fn joining(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("new_key");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    for (name, profile) in PROFILES {
        group.bench_function(name, |bencher| {
            let secret = secret(profile, 1);
            bencher.iter_batched(|| (), |()| Sealer::new(&secret), BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn bare(profile: Profile, n: u32) -> LessSafeKey {
    let algorithm = match profile {
        Profile::AeadAes256Gcm => &AES_256_GCM,
        _ => &AES_128_GCM,
    };
    let key = UnboundKey::new(algorithm, &master(n).key[..profile.key_bytes()]);
    LessSafeKey::new(key.expect("a key of the right length"))
}

fn bare_seal(key: &LessSafeKey, index: u64, header: &[u8], body: &mut [u8]) -> [u8; 16] {
    let nonce = Nonce::assume_unique_for_key(nonce(index));
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(header), body);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(tag.expect("short enough").as_ref());
    bytes
}

fn aws_lc_key(profile: Profile, n: u32) -> aws_lc::LessSafeKey {
    let algorithm = match profile {
        Profile::AeadAes256Gcm => &aws_lc::AES_256_GCM,
        _ => &aws_lc::AES_128_GCM,
    };
    let key = aws_lc::UnboundKey::new(algorithm, &master(n).key[..profile.key_bytes()]);
    aws_lc::LessSafeKey::new(key.expect("a key of the right length"))
}

/// Seals from `payload` to `out`, behind a copy of the header and before the tag, as a packet of
/// SRTP is.
fn aws_lc_seal(
    key: &aws_lc::LessSafeKey,
    index: u64,
    header: &[u8; HEADER_BYTES],
    payload: &[u8],
    out: &mut [u8],
) {
    let nonce = aws_lc::Nonce::assume_unique_for_key(nonce(index));
    let (clear, rest) = out.split_at_mut(HEADER_BYTES);
    let (body, rest) = rest.split_at_mut(payload.len());
    clear.copy_from_slice(header);
    let aad = aws_lc::Aad::from(header);
    key.seal_out_of_place_scatter(nonce, aad, payload, body, &[], &mut rest[..16])
        .expect("short enough");
}

fn nonce(index: u64) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[4..].copy_from_slice(&index.to_be_bytes());
    nonce
}

criterion_group!(benches, sealing, joining);
criterion_main!(benches);
