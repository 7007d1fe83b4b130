//! Runs the fuzzer's corpus through the same functions: what was found once stays found.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use freshet_tests::place::corpus;
use freshet_tests::random::Random;

#[path = "../fuzz/targets/mod.rs"]
mod targets;

use targets::{TARGETS, Target};

/// Spoiled copies of each seed. The fuzzer makes millions; these tell that the functions still fit.
const SPOILED: usize = 12;

const SEED: u64 = 0x0f02_2025;

fn seeds(target: &Target) -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target.name);
    let mut files = files(&own);
    assert!(!files.is_empty(), "no seed in {}", own.display());
    for (folder, ending) in target.also {
        let also = self::files(&corpus(folder));
        files.extend(
            also.into_iter()
                .filter(|path| path.extension().is_some_and(|e| e == *ending)),
        );
    }
    files
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Cuts it, and changes a few bytes.
fn spoil(random: &mut Random, mut bytes: Vec<u8>) -> Vec<u8> {
    if random.below(3) == 0 {
        bytes.truncate(random.below(bytes.len() + 1));
    }
    for _ in 0..random.below(6) {
        let at = random.below(bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte = random.next_u64().to_be_bytes()[0];
        }
    }
    bytes
}

#[test]
fn no_seed_and_no_spoiled_one_makes_a_reader_panic() {
    let mut random = Random::new(SEED);
    for target in TARGETS {
        for path in seeds(&target) {
            let whole = fs::read(&path).unwrap();
            (target.run)(&whole);
            for nth in 0..SPOILED {
                let spoiled = spoil(&mut random, whole.clone());
                let run = || (target.run)(&spoiled);
                assert!(
                    catch_unwind(run).is_ok(),
                    "{}, {nth} of {}, seed {SEED:#x}: {spoiled:02x?}",
                    target.name,
                    path.display()
                );
            }
        }
    }
}

#[test]
fn every_folder_of_the_corpus_has_its_target() {
    for path in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(TARGETS.iter().any(|target| target.name == name), "{name}");
    }
}
