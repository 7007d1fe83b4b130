//! Owns the fuzzer's way in. FRESHET_FUZZ names the target; without it they are listed.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

mod targets;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fuzz_target!(init: {
    let name = std::env::var("FRESHET_FUZZ").unwrap_or_default();
    let found = targets::TARGETS.iter().find(|target| target.name == name);
    let Some(target) = found else {
        for target in targets::TARGETS {
            // With the folders of the corpus that it takes besides its own.
            let also = target.also.iter().map(|(folder, _)| format!(" {folder}"));
            println!("{}{}", target.name, also.collect::<String>());
        }
        std::process::exit(2);
    };
    TARGET.get_or_init(|| target.run);
}, |data: &[u8]| {
    if let Some(run) = TARGET.get() {
        run(data);
    }
});
