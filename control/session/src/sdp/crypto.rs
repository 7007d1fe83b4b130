//! Owns the keys that an offer carries in the clear: `a=crypto` (RFC 4568, RFC 7714).

use link::keys::{MasterKey, Profile};
use std::fmt;
use zeroize::Zeroizing;

/// Most `a=crypto` lines of a section that are looked at: one for each suite that there is.
const CRYPTOS_MAX: usize = 16;

/// Most digits of a tag (RFC 4568 section 9.2).
const TAG_DIGITS_MAX: usize = 9;

/// The `a=crypto` values of a section, as offered. Not printable: keys are in there.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Cryptos(Vec<String>);

impl Cryptos {
    /// Notes the values of a section.
    pub fn new<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        Self(values.take(CRYPTOS_MAX).map(str::to_owned).collect())
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first line that can be used, as they stand in the order of the offerer's preference
    /// (RFC 4568 section 5.1.1); `Ok(None)` if there is no line.
    ///
    /// # Errors
    /// What is wrong with the first line, if all are unusable.
    pub fn choose(&self) -> Result<Option<Crypto>, &'static str> {
        let mut first = None;
        for line in &self.0 {
            match Crypto::parse(line) {
                Ok(crypto) => return Ok(Some(crypto)),
                Err(fault) => first = first.or(Some(fault)),
            }
        }
        first.map_or(Ok(None), Err)
    }
}

impl fmt::Debug for Cryptos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cryptos({})", self.0.len())
    }
}

/// One `a=crypto` that can be used.
#[derive(Clone)]
pub struct Crypto {
    /// Its number, which the answer repeats.
    pub tag: u32,
    /// Its suite.
    pub profile: Profile,
    /// What the offerer protects its packets with.
    pub key: MasterKey,
}

impl Crypto {
    /// Reads the value of an `a=crypto`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(value: &str) -> Result<Self, &'static str> {
        let mut words = value.split_ascii_whitespace();
        let (tag, suite, params) = match (words.next(), words.next(), words.next()) {
            (Some(tag), Some(suite), Some(params)) => (tag, suite, params),
            _ => return Err("it is not TAG SUITE inline:KEY"),
        };
        let is_tag = tag.len() <= TAG_DIGITS_MAX && tag.bytes().all(|c| c.is_ascii_digit());
        let tag = tag.parse().ok().filter(|_| is_tag);
        let tag = tag.ok_or("its tag is not a number of 1 to 9 digits")?;
        let profile = profile_of(suite).ok_or(
            "its suite is none of AES_CM_128_HMAC_SHA1_80, AES_CM_128_HMAC_SHA1_32, \
             AEAD_AES_128_GCM, AEAD_AES_256_GCM",
        )?;
        words.try_for_each(check_session_parameter)?;
        let key = read_key(profile, params)?;
        Ok(Self { tag, profile, key })
    }

    /// The name of the suite.
    #[must_use]
    pub fn suite(&self) -> &'static str {
        let found = SUITES.iter().find(|(_, profile)| *profile == self.profile);
        found.map_or("", |(name, _)| name)
    }

    /// True if `other` opens the same packets.
    #[must_use]
    pub fn same_key(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.key, &other.key);
        self.profile == other.profile && ours.key == theirs.key && ours.salt == theirs.salt
    }
}

/// A value for the answer: the same suite and tag, and a key of ours, made from so many random
/// bytes. Nothing is ever sent with it where nothing goes back.
#[must_use]
pub fn answer(crypto: &Crypto, random: &[u8; KEY_BYTES_MAX]) -> String {
    let bytes = &random[..crypto.profile.key_bytes() + crypto.profile.salt_bytes()];
    let (tag, suite) = (crypto.tag, crypto.suite());
    let key = openssl::base64::encode_block(bytes);
    format!("{tag} {suite} inline:{key}")
}

/// Most bytes of a key and its salt.
pub const KEY_BYTES_MAX: usize = 46;

const SUITES: [(&str, Profile); 4] = [
    ("AES_CM_128_HMAC_SHA1_80", Profile::Aes128CmSha1_80),
    ("AES_CM_128_HMAC_SHA1_32", Profile::Aes128CmSha1_32),
    ("AEAD_AES_128_GCM", Profile::AeadAes128Gcm),
    ("AEAD_AES_256_GCM", Profile::AeadAes256Gcm),
];

fn profile_of(suite: &str) -> Option<Profile> {
    let found = SUITES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(suite));
    found.map(|(_, profile)| *profile)
}

/// What the size of a window or the order of repairs says needs nothing of a receiver. The others
/// change what is on the wire, but for those that begin with a dash and may be left out.
fn check_session_parameter(text: &str) -> Result<(), &'static str> {
    let name = text.split('=').next().unwrap_or_default();
    let is_harmless = name.eq_ignore_ascii_case("WSH")
        || text.eq_ignore_ascii_case("KDR=0")
        || text.starts_with('-');
    match is_harmless {
        true => Ok(()),
        false => Err("it has a session parameter that is not supported"),
    }
}

/// `inline:KEY_AND_SALT`, then a lifetime and an MKI after a bar each (RFC 4568 section 6.1). A
/// lifetime says when the sender has to change its key, by a new offer.
fn read_key(profile: Profile, params: &str) -> Result<MasterKey, &'static str> {
    if params.contains(';') {
        return Err("it has several keys, which packets would have to name by an MKI");
    }
    let (method, info) = params.split_once(':').unwrap_or((params, ""));
    if !method.eq_ignore_ascii_case("inline") {
        return Err("its key method is not inline");
    }
    let mut parts = info.split('|');
    let text = parts.next().unwrap_or_default();
    let (key_bytes, salt_bytes) = (profile.key_bytes(), profile.salt_bytes());
    let mut has_lifetime = false;
    for part in parts {
        if part.contains(':') {
            return Err("it wants an MKI in every packet, which is not supported");
        }
        if std::mem::replace(&mut has_lifetime, true) || !is_lifetime(part) {
            return Err("what follows its key is not a lifetime");
        }
    }
    let wrong = "its key is not the base64 of as many bytes as the suite has (30, 28 or 44)";
    // The decoder takes blanks, and more than one way to write the last bits.
    let whole = (key_bytes + salt_bytes).div_ceil(3) * 4;
    let digits = text.trim_end_matches('=');
    if text.len() != whole || !digits.bytes().all(is_base64) {
        return Err(wrong);
    }
    let bytes = Zeroizing::new(openssl::base64::decode_block(text).map_err(|_| wrong)?);
    if bytes.len() != key_bytes + salt_bytes {
        return Err(wrong);
    }
    let (key, salt) = bytes.split_at(key_bytes);
    let mut master = MasterKey::default();
    master.key[..key_bytes].copy_from_slice(key);
    master.salt[..salt_bytes].copy_from_slice(salt);
    Ok(master)
}

fn is_lifetime(text: &str) -> bool {
    let digits = text.strip_prefix("2^").unwrap_or(text);
    (1..=20).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_digit())
}

fn is_base64(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of RFC 4568 section 6.1.
    const KEY: &str = "PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";

    fn fault(value: &str) -> &'static str {
        Crypto::parse(value)
            .err()
            .unwrap_or_else(|| panic!("{value} was taken"))
    }

    #[test]
    fn the_example_of_the_standard_is_read() {
        let value = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20");
        let crypto = Crypto::parse(&value).unwrap();
        assert_eq!((crypto.tag, crypto.profile), (1, Profile::Aes128CmSha1_80));
        assert_eq!(&crypto.key.key[..16], b"=-n@%^x!Bjufr9)?");
        assert_eq!(crypto.key.key[16..], [0; 16]);
        assert_eq!(&crypto.key.salt, b",#5h\\`=&]{qiPQ");
        for more in ["", "|1048576", " WSH=128", " KDR=0", " -EXTRA=x"] {
            let value = format!("7 aes_cm_128_hmac_sha1_32 INLINE:{KEY}{more}");
            let crypto = Crypto::parse(&value).unwrap();
            assert_eq!((crypto.tag, crypto.profile), (7, Profile::Aes128CmSha1_32));
        }
    }

    #[test]
    fn each_suite_has_its_length() {
        for (suite, bytes) in [
            ("AES_CM_128_HMAC_SHA1_80", 30),
            ("AES_CM_128_HMAC_SHA1_32", 30),
            ("AEAD_AES_128_GCM", 28),
            ("AEAD_AES_256_GCM", 44),
        ] {
            for given in [0, 16, 27, 28, 29, 30, 31, 43, 44, 45, 46] {
                let key = openssl::base64::encode_block(&vec![9; given]);
                let read = Crypto::parse(&format!("1 {suite} inline:{key}"));
                assert_eq!(read.is_ok(), given == bytes, "{suite} {given}");
                let Ok(crypto) = read else { continue };
                assert_eq!(crypto.suite(), suite);
                let back = answer(&crypto, &[3; KEY_BYTES_MAX]);
                let back = Crypto::parse(&back).unwrap();
                assert_eq!((back.tag, back.profile), (1, crypto.profile));
                assert!(!back.same_key(&crypto) && back.key.key[0] == 3);
            }
        }
    }

    #[test]
    fn what_would_not_be_understood_is_refused_with_its_cause() {
        let of = |text: &str| fault(&text.replace("KEY", KEY));
        let line = "1 AES_CM_128_HMAC_SHA1_80 inline:KEY";
        assert!(of("1 AES_CM_128_HMAC_SHA1_80").contains("TAG SUITE"));
        assert!(of("x AES_CM_128_HMAC_SHA1_80 inline:KEY").contains("tag"));
        assert!(of("+1 AES_CM_128_HMAC_SHA1_80 inline:KEY").contains("tag"));
        assert!(of("1234567890 AES_CM_128_HMAC_SHA1_80 inline:KEY").contains("tag"));
        assert!(of("1 F8_128_HMAC_SHA1_80 inline:KEY").contains("suite"));
        assert!(of("1 AES_CM_128_HMAC_SHA1_80 outline:KEY").contains("inline"));
        assert!(of(&format!("{line}|2^20|1:4")).contains("MKI"));
        assert!(of(&format!("{line}|1:4")).contains("MKI"));
        assert!(of(&format!("{line};inline:KEY")).contains("several"));
        assert!(of(&format!("{line}|soon")).contains("lifetime"));
        assert!(of(&format!("{line}|2^20|2^20")).contains("lifetime"));
        assert!(of(&format!("{line} UNENCRYPTED_SRTP")).contains("parameter"));
        assert!(of(&format!("{line} UNAUTHENTICATED_SRTP")).contains("parameter"));
        assert!(of(&format!("{line} KDR=3")).contains("parameter"));
        let spoilt = [
            &KEY[1..],
            &format!("{}!", &KEY[1..]),
            &format!("={}", &KEY[1..]),
        ];
        for key in spoilt {
            let value = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key}");
            assert!(fault(&value).contains("base64"), "{key}");
        }
    }

    #[test]
    fn the_first_usable_line_counts_and_keys_are_not_printed() {
        let lines = [
            format!("1 AES_256_CM_HMAC_SHA1_80 inline:{KEY}"),
            format!("2 AES_CM_128_HMAC_SHA1_32 inline:{KEY}"),
            format!("3 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
        ];
        let cryptos = Cryptos::new(lines.iter().map(String::as_str));
        assert_eq!(cryptos.choose().unwrap().unwrap().tag, 2);
        assert_eq!(format!("{cryptos:?}"), "Cryptos(3)");
        let bad = Cryptos::new(lines[..1].iter().map(String::as_str));
        assert!(bad.choose().err().unwrap().contains("suite"));
        assert!(Cryptos::default().choose().unwrap().is_none());
    }
}
