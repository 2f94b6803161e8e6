//! FOURTH floor: the only room that knows glommio, io_uring, sockets and the clock.
#![allow(unsafe_code)]
