//! Owns the cost of protecting one packet of 1,200 bytes: ours, libsrtp, and bare `ring`. All of
//! them copy the payload to where it is sealed, but for `freshet_vaes`, which reads it where it
//! is. With 1,000 keys each packet is another viewer's.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use freshet_bench::PAYLOAD_BYTES;
use freshet_bench::rig::master;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use seal::oracle::Session;
use seal::{Cipher, Profile, Sealer, Secret};
use wire::rtp::{HEADER_BYTES, Header};

const PROFILES: [(&str, Profile); 3] = [
    ("gcm128", Profile::AeadAes128Gcm),
    ("gcm256", Profile::AeadAes256Gcm),
    ("cm128_sha1_80", Profile::Aes128CmSha1_80),
];

const KEYS: [u32; 2] = [1, 1000];

const SSRC: u32 = 7;

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
        let mut header = [0; HEADER_BYTES];
        let fields = Header {
            sequence: u16::try_from(self.index & 0xffff).expect("masked"),
            ssrc: SSRC,
            ..Header::default()
        };
        let _ = fields.write(&[], &mut header);
        (&mut self.keys[self.at], self.index, header)
    }
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
            .throughput(Throughput::Bytes((HEADER_BYTES + PAYLOAD_BYTES) as u64))
            .sample_size(30)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_millis(1500));
        for count in KEYS {
            let mut out = [0; 1500];
            let ciphers = Cipher::ALL
                .into_iter()
                .filter(|cipher| cipher.is_available());
            // The other profile knows one way only.
            let ways = if profile == Profile::Aes128CmSha1_80 {
                1
            } else {
                2
            };
            for cipher in ciphers.take(ways) {
                let mut ours = Turns::new(count, |n| {
                    Sealer::with(&secret(profile, n), cipher).expect("a key of the right length")
                });
                let name = if ways == 1 { "own" } else { cipher.name() };
                group.bench_function(format!("freshet_{name}/{count}"), |bencher| {
                    bencher.iter(|| {
                        let (sealer, index, header) = ours.next();
                        black_box(sealer.rtp(index, &header, black_box(&payload), &mut out))
                    });
                });
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
                group.bench_function(format!("ring/{count}"), |bencher| {
                    let mut keys = Turns::new(count, |n| bare(profile, n));
                    bencher.iter(|| {
                        let (key, index, header) = keys.next();
                        out[..PAYLOAD_BYTES].copy_from_slice(black_box(&payload));
                        bare_seal(key, index, &header, &mut out[..PAYLOAD_BYTES])
                    });
                });
            }
        }
        group.finish();
    }
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
    let mut nonce = [0; NONCE_LEN];
    nonce[4..].copy_from_slice(&index.to_be_bytes());
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(header), body);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(tag.expect("short enough").as_ref());
    bytes
}

criterion_group!(benches, sealing, joining);
criterion_main!(benches);
