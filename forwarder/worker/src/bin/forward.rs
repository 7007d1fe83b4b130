//! The forwarder alone, with a static file of flows. The same as `freshet forwarder FILE`.

#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let (Some(path), None) = (args.next(), args.next()) else {
        eprintln!("usage: forward FLOWS.toml");
        return ExitCode::from(2);
    };
    match freshet_worker::standalone::run(Path::new(&path)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("forward: {why}");
            ExitCode::FAILURE
        }
    }
}
