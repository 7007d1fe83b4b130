//! The real system with everything that comes, goes, dies and is replaced: nothing leaks, and those
//! who stay notice nothing that they must not.
//!
//! `FRESHET_SOAK_MINUTES` makes it long, `FRESHET_SEED` repeats one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use freshet_tests::soak::{Plan, run};
use freshet_tests::wait::{alone, have};

#[test]
fn nothing_leaks_and_those_who_stay_stay() {
    let _turn = alone();
    if !have(&["ffmpeg"]) {
        return;
    }
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let clock = since.map_or(1, |since| since.as_secs());
    let seed = number("FRESHET_SEED").unwrap_or(clock);
    run(match number("FRESHET_SOAK_MINUTES") {
        Some(minutes) => Plan {
            seed,
            rounds: [Duration::from_secs(60); 2],
            span: Duration::from_secs(60 * minutes),
            storm_in: 4,
            waits: true,
        },
        None => Plan {
            seed,
            rounds: [Duration::from_secs(3), Duration::from_secs(8)],
            span: Duration::ZERO,
            storm_in: 2,
            waits: false,
        },
    });
}
