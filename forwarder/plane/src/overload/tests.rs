//! A core whose load is made by what it sends.

use super::*;
use link::Region;
use link::ids::CoreId;
use link::limits::Limits;

const LIMIT: f64 = 0.8;
const VIEWERS: usize = 64;

/// A core with viewers of upper layers whose paths are alike.
struct Core {
    overload: Overload,
    stats: Stats,
    now: Time,
    /// Of the whole load, what upper layers make.
    upper: f64,
    held: [bool; VIEWERS],
}

impl Core {
    fn new(upper: f64) -> Self {
        let limits = Limits {
            cores: 1,
            streams_max: 1,
            viewers_max: 1,
            ..Limits::default()
        };
        let region = Region::create(&limits).unwrap();
        let mut overload = Overload::default();
        overload.limit(LIMIT);
        Self {
            overload,
            stats: region.stats(CoreId(0)).unwrap(),
            now: Time::ZERO + Span::secs(1000),
            upper,
            held: [false; VIEWERS],
        }
    }

    fn on_top(&self) -> usize {
        self.held.iter().filter(|held| !**held).count()
    }

    /// So many seconds in which all upper layers would make a load of `whole`: how often
    /// a viewer was sent less or more than before.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "parts of a tenth of a second"
    )]
    fn run(&mut self, whole: f64, seconds: u32) -> usize {
        let mut changes = 0;
        for _ in 0..10 * seconds {
            let below = 1.0 - self.on_top() as f64 / VIEWERS as f64;
            let load = whole * (1.0 - self.upper * below);
            self.now = self.now + SAMPLE;
            self.stats.add(Counter::TimePassed, SAMPLE.0);
            let busy = SAMPLE.0 as f64 * load.min(1.0);
            self.stats.add(Counter::TimeBusy, busy as u64);
            self.overload.look(self.now, &self.stats);
            for (slot, held) in (0..).zip(&mut self.held) {
                let is_held = self.overload.holds(slot, 5_000_000, 1_000_000, *held);
                changes += usize::from(is_held != *held);
                *held = is_held;
            }
        }
        changes
    }
}

#[test]
fn no_more_is_taken_than_has_to_be() {
    let mut core = Core::new(0.7);
    core.run(0.5 * LIMIT, 10);
    assert_eq!(core.on_top(), VIEWERS);
    // Six hundredths too much.
    core.run(1.06 * LIMIT, 20);
    let left = core.on_top();
    assert!((VIEWERS / 2 + 8..VIEWERS).contains(&left), "{left}");
}

#[test]
fn what_cannot_be_kept_is_given_back_ever_more_rarely() {
    for upper in [0.5, 0.7, 0.8, 0.95] {
        for whole in [1.0, 1.1, 1.25, 1.4, 1.6, 2.0] {
            let mut core = Core::new(upper);
            core.run(0.5 * LIMIT, 10);
            let first = core.run(whole * LIMIT, 60);
            let then = core.run(whole * LIMIT, 600);
            println!("{upper} of {whole}: {first} changes in a minute, then {then} in ten");
            assert!(first <= 2 * VIEWERS, "{upper} of {whole}: {first}");
            // A step down and up again every 32 s.
            assert!(
                then <= 600 / 32 * 2 * VIEWERS / 8,
                "{upper} of {whole}: {then}"
            );
            // However long the last pause was.
            core.run(0.5 * LIMIT, 100);
            assert_eq!(core.on_top(), VIEWERS, "{upper} of {whole}");
        }
    }
}
