//! Owns THE loop: a turn, then rest. Hot.

use crate::ahead::Teller;
use crate::error::Error;
use crate::idle::{Idler, Rest};
use crate::seat::Seat;
use core::sync::atomic::{AtomicUsize, Ordering};
use io::{Port, clock};
use wire::time::{Span, Time};

/// How long the other cores are given to have received their last.
const LEAVE_TOGETHER: Span = Span::millis(5);

/// How long a device is given to take what is left.
const LEAVE_MAX: Span = Span::millis(10);

/// Leaves everything to another worker, in `out`, or what that does not know from what was told
/// ahead; `deaf` counts the cores that have received their last.
///
/// # Errors
/// There is no memory for it.
pub(crate) fn leave<P: Port>(
    seat: &mut Seat<P>,
    deaf: &AtomicUsize,
    cores: usize,
    knows: bool,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let began = clock::now();
    seat.leave(began);
    deaf.fetch_add(1, Ordering::SeqCst);
    while deaf.load(Ordering::SeqCst) < cores && clock::now() < began + LEAVE_TOGETHER {
        std::hint::spin_loop();
    }
    seat.left(began + LEAVE_MAX, clock::now, knows, out)
}

/// Turns until `stopping`.
pub(crate) fn run<P: Port>(
    seat: &mut Seat<P>,
    idler: &mut Idler,
    teller: &mut Teller,
    stopping: impl Fn() -> bool,
) {
    while !stopping() {
        let now = clock::now();
        let turn = seat.turn(now, clock::unix_ns);
        teller.turn(seat);
        if idler.after(now, turn.worked()) == Rest::Sleep {
            seat.rest(clock::now());
            seat.sleep(now, turn, Time::FAR, || stopping() || teller.has_work());
        }
    }
}
