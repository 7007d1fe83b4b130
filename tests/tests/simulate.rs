//! The whole system in virtual time, with everything that goes wrong from a seed: see
//! `freshet_tests::sim`. FRESHET_SEED repeats one and leaves its trace in a file;
//! FRESHET_SIM_SEEDS says how many are run.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::env;

use freshet_tests::sim::{Mutant, run, runs};
use freshet_tests::wait::quick;

/// Seeds of an ordinary run.
const SEEDS: u64 = 1000;

/// Seeds of a quick run.
const SEEDS_QUICK: u64 = 150;

/// With so many seeds at least, everything that can happen has happened.
const SEEDS_MANY: usize = 100;

/// Seeds of which a mutant must be found by one: some need a death that not every seed has.
const MUTANT_SEEDS: u64 = 40;

/// Failures whose traces are written.
const TRACES: usize = 3;

#[test]
fn no_seed_finds_anything() {
    if let Ok(seed) = env::var("FRESHET_SEED") {
        let seed = seed.parse().expect("FRESHET_SEED is a number");
        let (outcome, path) = runs::trace(seed).unwrap();
        println!(
            "seed {seed}: {:?}, trace in {}",
            outcome.tally,
            path.display()
        );
        assert_eq!(outcome.faults, [""; 0]);
        return;
    }
    let wanted = env::var("FRESHET_SIM_SEEDS");
    let count = wanted.map_or(if quick() { SEEDS_QUICK } else { SEEDS }, |count| {
        count.parse().expect("FRESHET_SIM_SEEDS is a number")
    });
    let known = runs::corpus();
    let seeds: Vec<u64> = known.iter().map(|one| one.seed).chain(1..=count).collect();
    let summary = runs::all(&seeds);
    println!("{} seeds: {:?}", summary.runs, summary.tally);
    let mut told = Vec::new();
    for (number, (seed, fault)) in summary.failures.iter().enumerate() {
        let found = known.iter().find(|one| one.seed == *seed);
        let found = found.map_or("", |one| one.found.as_str());
        let trace = (number < TRACES).then(|| runs::trace(*seed).unwrap().1);
        told.push(format!(
            "seed {seed}: {fault}; trace: {trace:?}; known for: {found:?}"
        ));
    }
    assert!(
        told.is_empty(),
        "{}\nFRESHET_SEED=... repeats one",
        told.join("\n")
    );
    if summary.runs >= SEEDS_MANY {
        let tally = summary.tally;
        let all = [
            tally.packets,
            tally.reports,
            tally.sessions,
            tally.adopted,
            tally.forwarder_deaths,
            tally.sidecar_deaths,
            tally.jumps,
            tally.mishaps,
            tally.told,
            tally.repaired,
            tally.upgrades,
            tally.waited,
            tally.left_bytes,
            tally.sidecar_upgrades,
            tally.switches,
            tally.given_up,
        ];
        assert!(
            all.iter().all(|count| *count > 0),
            "something never happens: {tally:?}"
        );
    }
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    for seed in 1..=if quick() { 5 } else { 25 } {
        let [once, again] = [(); 2].map(|()| run(seed, true, None));
        let mut pairs = once.trace.lines().zip(again.trace.lines());
        let differs = pairs.find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert!(
            once.trace == again.trace && once.tally == again.tally,
            "seed {seed}"
        );
        assert!(once.trace.lines().count() > 50, "seed {seed} tells nothing");
    }
}

/// A check that cannot fail checks nothing.
#[test]
fn every_mutant_is_found() {
    let mutants = [
        (Mutant::RepeatsNonce, "a nonce was used twice"),
        (Mutant::RepeatsReport, "was used twice"),
        (Mutant::SkipsNumber, "jumps from"),
        (Mutant::SwapsStreams, "is of another stream"),
        (Mutant::ChangesByte, "that nobody published"),
        (Mutant::AdoptsNobody, "were not gone on with"),
        (Mutant::ForgetsViewer, "neither served nor told"),
        (Mutant::RestartsLate, "no media in time"),
        (Mutant::LeaksCell, "left when all had gone"),
        (
            Mutant::ForgetsHandover,
            "in time when a forwarder was replaced",
        ),
        (Mutant::ForgetsTold, "closed: refused"),
        (Mutant::StaysLoaded, "are not loaded any more"),
        (Mutant::ChoosesAnother, "and have chosen it"),
        (Mutant::StaysNarrow, "and have wide paths"),
        (Mutant::SkipsFrame, "over an upgrade packets were left out"),
    ];
    for (mutant, says) in mutants {
        let faults = (1..=MUTANT_SEEDS).flat_map(|seed| run(seed, false, Some(mutant)).faults);
        let found = faults.into_iter().find(|fault| fault.contains(says));
        println!("{mutant:?}: {found:?}");
        assert!(
            found.is_some(),
            "{mutant:?} was not found by what says {says:?}"
        );
    }
}
