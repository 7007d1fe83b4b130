//! Owns the table that is printed, and what a way costs.

use std::fmt::Display;

use freshet_bench::cpu;
use freshet_bench::samples::Samples;

/// A table with a row for each way and a column for each length.
pub struct Table {
    names: Vec<String>,
    samples: Vec<Samples>,
    own: Vec<Samples>,
    ratios: Vec<Samples>,
}

/// Nanoseconds for a packet or datagram.
#[derive(Clone, Copy)]
pub struct Cost {
    /// Of all threads, those that the kernel runs for us too.
    pub all: f64,
    /// Of the one that asks.
    pub own: f64,
}

/// What `work` costs for each of `pieces`.
pub fn cost(pieces: u32, work: impl FnOnce()) -> Cost {
    let mut own = 0;
    let all = cpu::spent_ns(|| {
        let before = cpu::thread_ns();
        work();
        own = cpu::thread_ns() - before;
    });
    Cost {
        all: all as f64 / f64::from(pieces),
        own: own as f64 / f64::from(pieces),
    }
}

impl Table {
    /// Of no round yet.
    pub fn new(names: Vec<String>) -> Self {
        Self {
            samples: vec![Samples::default(); names.len()],
            own: vec![Samples::default(); names.len()],
            ratios: vec![Samples::default(); names.len()],
            names,
        }
    }

    /// One round: what each way cost. The first is what the others are compared with.
    pub fn add(&mut self, costs: &[Cost]) {
        for (nth, cost) in costs.iter().enumerate() {
            self.samples[nth].add(cost.all);
            self.own[nth].add(cost.own);
            self.ratios[nth].add(costs[0].all / cost.all);
        }
    }

    /// With a head that says `what` it is.
    pub fn print(&self, what: impl Display) {
        println!(
            "{what:<48}{:>8}{:>8}{:>7}{:>8}{:>7}",
            "ns", "least", "IQR", "own", "x"
        );
        for (nth, name) in self.names.iter().enumerate() {
            let samples = &self.samples[nth];
            println!(
                "    {name:<44}{:>8.0}{:>8.0}{:>7.0}{:>8.0}{:>7.2}",
                samples.median(),
                samples.least(),
                samples.spread(),
                self.own[nth].median(),
                self.ratios[nth].median(),
            );
        }
    }
}
