//! Owns the check whether shared memory can have huge pages.

use crate::{Change, Finding, Host, Plan, Stage, Verdict};

const PATH: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

pub(super) struct Hugepages;

impl Stage for Hugepages {
    fn name(&self) -> &'static str {
        "huge-pages"
    }

    fn why(&self) -> &'static str {
        "stream logs are read by every core; huge pages save address look-ups on the packet path"
    }

    fn check(&self, host: &Host, _: &Plan) -> Finding {
        let wanted = "advise (only who asks)";
        let Some(all) = host.read(PATH) else {
            return Finding::absent("this kernel has none for shared memory");
        };
        let chosen = all.split(['[', ']']).nth(1).unwrap_or(&all).to_string();
        if matches!(&chosen[..], "advise" | "within_size" | "always" | "force") {
            return Finding::good(chosen, wanted);
        }
        let change = Change {
            path: PATH.into(),
            from: chosen.clone(),
            to: "advise".into(),
        };
        Finding {
            changes: vec![change],
            ..Finding::wanting(
                Verdict::Better,
                chosen,
                wanted,
                format!("echo advise > {PATH}"),
            )
        }
    }

    fn owns(&self, path: &str) -> bool {
        path == PATH
    }
}
