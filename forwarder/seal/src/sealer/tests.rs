//! Checks what a sealer promises of its place in memory.

use super::*;

#[test]
fn hot_bytes_hold_the_expanded_key_and_the_salt() {
    let secret = Secret::new(Profile::AeadAes128Gcm, &[1; 16], &[2; 12]).expect("lengths");
    for cipher in [Cipher::Vaes, Cipher::Vaes512] {
        let Ok(sealer) = Sealer::with(&secret, cipher) else {
            continue;
        };
        let end = match &sealer.suite {
            Suite::Vaes(gcm, _) => core::ptr::from_ref(gcm).addr() + size_of_val(gcm),
            Suite::Vaes512(gcm, _) => core::ptr::from_ref(gcm).addr() + size_of_val(gcm),
            _ => panic!("another suite than the one asked for"),
        };
        let bytes = end - core::ptr::from_ref(&sealer).addr();
        println!("{cipher}: {bytes} bytes");
        assert!(bytes <= Sealer::HOT_BYTES, "{cipher}: {bytes} bytes");
    }
}
