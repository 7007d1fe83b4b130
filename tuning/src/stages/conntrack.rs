//! Owns the check whether connection tracking stands in the packets' way.

use crate::{Finding, Host, Plan, Stage, Verdict};

const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

pub(super) struct Conntrack;

impl Stage for Conntrack {
    fn name(&self) -> &'static str {
        "conntrack"
    }

    fn why(&self) -> &'static str {
        "tracking looks up every packet, and once its table is full it drops new viewers"
    }

    fn check(&self, host: &Host, plan: &Plan) -> Finding {
        let (Some(count), Some(max)) = (host.number(COUNT), host.number(MAX)) else {
            return Finding::good("not loaded", "not loaded, or not for media");
        };
        // Loaded but without a single entry: no rule asks for it, so no packet passes through it.
        if count == 0 {
            return Finding::good("loaded, not in use", "not loaded, or not for media");
        }
        let full = count.saturating_mul(10) >= max.saturating_mul(8);
        let verdict = if full { Verdict::Bad } else { Verdict::Better };
        Finding::wanting(
            verdict,
            format!("in use, {count} of {max} entries"),
            "not for the media ports",
            notrack(plan),
        )
    }

    fn owns(&self, _: &str) -> bool {
        false
    }
}

/// A firewall is its operator's: the rules are shown, never set.
fn notrack(plan: &Plan) -> String {
    let ports = format!("{{ {}, {} }}", plan.media_port, plan.srt_port);
    format!(
        "nft 'add table inet freshet; \
         add chain inet freshet in {{ type filter hook prerouting priority raw; }}; \
         add chain inet freshet out {{ type filter hook output priority raw; }}; \
         add rule inet freshet in udp dport {ports} notrack; \
         add rule inet freshet out udp sport {ports} notrack'"
    )
}
