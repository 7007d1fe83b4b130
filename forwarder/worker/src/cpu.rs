//! Owns which processor a worker runs on.

use core_affinity::CoreId as Cpu;

/// Where workers run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pin {
    /// Each on a processor of its own, if there are as many; otherwise nowhere in particular.
    #[default]
    Auto,
    /// Wherever the system likes.
    Off,
    /// On these, by worker; beyond the list nowhere in particular.
    Cpus(Vec<usize>),
}

/// The processors of `workers` workers. To be called on a thread that is not pinned: threads
/// inherit the mask, and see one processor only.
pub(crate) fn plan(pin: &Pin, workers: usize) -> Vec<Option<Cpu>> {
    let mut plan = vec![None; workers];
    match pin {
        Pin::Off => {}
        Pin::Cpus(ids) => {
            for (place, id) in plan.iter_mut().zip(ids) {
                *place = Some(Cpu { id: *id });
            }
        }
        Pin::Auto => {
            let cpus = core_affinity::get_core_ids().unwrap_or_default();
            if cpus.len() >= workers {
                // The last ones: the first has the interrupts of most devices, and the sidecar
                // needs some place too.
                for (place, cpu) in plan.iter_mut().zip(cpus.into_iter().rev()) {
                    *place = Some(cpu);
                }
            }
        }
    }
    plan
}

/// The processors that so many workers leave to others with [`Pin::Auto`]; none if they have all of
/// them, or nowhere in particular.
#[must_use]
pub fn spare(workers: usize) -> Vec<usize> {
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    let left = cpus.len().saturating_sub(workers);
    cpus.into_iter().take(left).map(|cpu| cpu.id).collect()
}

/// Settles the calling thread. True if it is where the plan wants it.
pub(crate) fn settle(cpu: Option<Cpu>) -> bool {
    // Waits end on time, not up to 50 microseconds late; refused, they are late.
    let _ = nix::sys::prctl::set_timerslack(1);
    cpu.is_none_or(core_affinity::set_for_current)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_never_shares_a_processor() {
        let cpus = core_affinity::get_core_ids().unwrap().len();
        let mut ids: Vec<_> = plan(&Pin::Auto, cpus)
            .into_iter()
            .map(|cpu| cpu.unwrap().id)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), cpus);
        assert!(spare(cpus).is_empty() && spare(cpus + 1).is_empty());
        for workers in 1..cpus {
            let taken = plan(&Pin::Auto, workers);
            let taken: Vec<_> = taken.into_iter().map(|cpu| cpu.unwrap().id).collect();
            let left = spare(workers);
            assert_eq!(left.len() + workers, cpus);
            assert!(left.iter().all(|id| !taken.contains(id)));
        }
        assert!(plan(&Pin::Auto, cpus + 1).iter().all(Option::is_none));
        assert!(plan(&Pin::Off, 1)[0].is_none());
        let listed = plan(&Pin::Cpus(vec![3]), 2);
        assert_eq!((listed[0].map(|cpu| cpu.id), listed[1]), (Some(3), None));
    }
}
