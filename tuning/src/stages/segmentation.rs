//! Owns the check whether network devices cut UDP runs themselves (read only).

use crate::{Finding, Host, Plan, Stage, Verdict};

const DEVICES: &str = "/sys/class/net";

pub(super) struct Segmentation;

impl Stage for Segmentation {
    fn name(&self) -> &'static str {
        "udp-segmentation"
    }

    fn why(&self) -> &'static str {
        "a device that cuts runs into datagrams saves the kernel about 180 ns for each"
    }

    fn check(&self, host: &Host, _: &Plan) -> Finding {
        let wanted = "tx-udp-segmentation on";
        let devices: Vec<String> = host
            .list(DEVICES)
            .into_iter()
            .filter(|name| name != "lo" && is_up(host, name))
            .collect();
        let (mut found, mut fixes) = (Vec::new(), Vec::new());
        for device in &devices {
            let Some(features) = host.run("ethtool", &["-k", device]) else {
                continue;
            };
            match feature(&features, "tx-udp-segmentation") {
                Some(("on", _)) => found.push(format!("{device} on")),
                Some((_, true)) | None => found.push(format!("{device} cannot")),
                Some((_, false)) => {
                    found.push(format!("{device} off"));
                    fixes.push(format!("ethtool -K {device} tx-udp-segmentation on"));
                }
            }
        }
        let found_text = found.join(", ");
        match (devices.is_empty(), found.is_empty(), fixes.is_empty()) {
            (true, ..) => Finding::absent("no device is up"),
            (_, true, _) => Finding::absent("not known: ethtool is not installed"),
            (.., true) => Finding::good(found_text, wanted),
            _ => Finding::wanting(Verdict::Better, found_text, wanted, fixes.join("; ")),
        }
    }

    fn owns(&self, _: &str) -> bool {
        false
    }
}

fn is_up(host: &Host, device: &str) -> bool {
    host.read(&format!("{DEVICES}/{device}/operstate"))
        .is_some_and(|state| state == "up")
}

/// The state of a feature in what `ethtool -k` says, and whether it is fixed.
fn feature<'a>(text: &'a str, name: &str) -> Option<(&'a str, bool)> {
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with(name))?;
    let mut words = line.split_once(':')?.1.split_whitespace();
    let state = words.next()?;
    Some((state, words.next() == Some("[fixed]")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_read() {
        let text = "Features for eth0:\nrx-checksumming: on\n\ttx-udp-segmentation: off [fixed]\n";
        assert_eq!(feature(text, "tx-udp-segmentation"), Some(("off", true)));
        assert_eq!(feature(text, "rx-checksumming"), Some(("on", false)));
        assert_eq!(feature(text, "tx-nocache-copy"), None);
    }
}
