//! Owns THE loop: a turn, then rest. Hot.

use crate::idle::{Idler, Rest};
use crate::seat::Seat;
use io::{Port, clock};
use wire::time::Time;

/// Turns until `stopping`.
pub(crate) fn run<P: Port>(seat: &mut Seat<P>, idler: &mut Idler, stopping: impl Fn() -> bool) {
    while !stopping() {
        let now = clock::now();
        let turn = seat.turn(now, clock::unix_ns);
        if idler.after(now, turn.worked()) == Rest::Sleep {
            seat.rest(clock::now());
            seat.sleep(now, turn, Time::FAR, &stopping);
        }
    }
}
