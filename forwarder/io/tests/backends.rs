//! The same scenarios over every kernel backend: on loopback, and in a namespace of their own.

#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod scenarios;

use freshet_io::Mmsg;
use scenarios::Ring;

macro_rules! backend {
    ($module:ident, $port:ty) => {
        mod $module {
            use super::*;
            use crate::scenarios as s;

            #[test]
            fn echo_from_both_families() {
                s::echo::<$port>();
            }
            #[test]
            fn a_run_arrives_as_its_datagrams() {
                s::run_of_nine_and_a_shorter::<$port>();
            }
            #[test]
            fn parked_runs_leave_in_order_once_they_are_complete() {
                s::parked_runs::<$port>();
            }
            #[test]
            fn the_answer_leaves_from_the_address_that_was_asked() {
                s::source_is_kept::<$port>();
            }
            #[test]
            fn a_full_arena_is_an_ordinary_answer() {
                s::full_arena::<$port>();
            }
            #[test]
            fn a_socket_that_cannot_segment_sends_singly() {
                s::segmenting_refused::<$port>();
            }
            #[test]
            fn the_eventfd_ends_the_wait() {
                s::wake::<$port>();
            }
            #[test]
            fn a_datagram_ends_the_wait() {
                s::datagram_wakes::<$port>();
            }
            #[test]
            fn the_wait_honours_its_deadline() {
                s::deadline::<$port>();
            }
            #[test]
            fn ten_thousand_datagrams_in_order() {
                s::ten_thousand::<$port>();
            }
            #[test]
            fn a_flood_past_the_buffers_does_not_end_receiving() {
                s::flood::<$port>();
            }
            #[test]
            fn a_datagram_is_stamped_when_it_comes() {
                s::stamps::<$port>();
            }
            #[test]
            fn a_datagram_too_long_is_dropped_and_counted() {
                s::too_long::<$port>();
            }
            #[test]
            fn a_peer_out_of_reach_costs_only_its_own_run() {
                s::out_of_reach::<$port>();
            }
            #[test]
            fn a_socket_is_left_to_another_port() {
                s::left::<$port>();
            }
            #[test]
            fn ports_come_and_go() {
                s::come_and_go::<$port>();
            }
            #[test]
            fn everything_again_in_a_namespace() {
                s::in_namespace(s::all::<$port>);
            }
            #[test]
            fn a_device_queue_that_is_full_loses_nothing() {
                s::in_namespace(s::slow_device::<$port>);
            }
            #[test]
            fn what_a_device_holds_is_not_written_over() {
                s::in_namespace(s::held::<$port>);
            }
            #[test]
            fn what_a_device_holds_outlives_the_port() {
                s::in_namespace(s::held_past_the_end::<$port>);
            }
            #[test]
            fn the_longest_runs_leave_from_anywhere() {
                s::long_runs::<$port>();
            }
            #[test]
            fn a_short_path_does_not_end_segmenting() {
                s::in_namespace(s::short_path::<$port>);
            }
        }
    };
}

backend!(mmsg, Mmsg);
backend!(uring, Ring<0>);
backend!(uring_sqpoll, Ring<1>);
backend!(uring_zero_copy, Ring<2>);
backend!(uring_sqpoll_zero_copy, Ring<3>);
backend!(uring_fixed_buffers, Ring<6>);
backend!(uring_sqpoll_fixed_buffers, Ring<7>);
backend!(uring_napi, Ring<8>);
backend!(uring_everything, Ring<15>);
