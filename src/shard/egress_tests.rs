//! Tests of the egress: what is gathered, taken, counted and given up.
//!
//! Duty: one connection or a few, by hand. Must not: go through a shard (tests/conformance/egress.rs does). Neighbours: `egress`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

/// A PUBLISH of QoS 0 to topic `t`: all but the payload, of which `payload_len` bytes follow.
fn head(payload_len: usize) -> Vec<u8> {
    let mut head = vec![0x30];
    let mut left = payload_len + 3;
    while left > 0x7f {
        head.push(left as u8 | 0x80);
        left >>= 7;
    }
    head.extend([left as u8, 0, 1, b't']);
    head
}

fn queued(table: &mut EgressTable) -> Vec<u8> {
    let mut flush = Flush::default();
    table.at(0).take(&mut flush);
    assert_eq!(table.at(0).backlog_bytes(), flush.len());
    flush.pieces().collect::<Vec<_>>().concat()
}

/// Whatever the packet and wherever a panic has cut it, what is sent is the whole packets before it.
#[test]
fn a_packet_that_a_panic_left_unfinished_is_taken_out_wherever_it_was_cut() {
    let small = [head(2), vec![7, 7]].concat();
    let large = head(5000);
    let payload = Bytes::from(vec![9; 5000]);
    for is_large_before in [false, true] {
        for cut in 0..=large.len() {
            let mut table = EgressTable::default();
            table.open(0);
            table.buffer(0).extend_from_slice(&small);
            let mut whole = small.clone();
            if is_large_before {
                table.buffer(0).extend_from_slice(&large);
                table.splice(0, payload.clone());
                whole.extend(large.iter().chain(&payload[..]));
            }
            table.control(0, |out| out.extend_from_slice(&[0x40, 2, 0, 1]));
            whole.extend([0x40, 2, 0, 1]);
            table.buffer(0).extend_from_slice(&large[..cut]);
            assert_eq!(table.cut_unfinished(), if cut > 0 { vec![0] } else { vec![] }, "cut at {cut}");
            assert_eq!(table.at(0).control_backlog_bytes(), 4);
            assert_eq!(queued(&mut table), whole, "cut at {cut}");
        }
    }
}

#[test]
fn whole_packets_are_left_alone() {
    let mut table = EgressTable::default();
    table.open(0);
    let mut whole: Vec<u8> = Vec::new();
    for payload_len in [0, 1, 124, 125, 5000, 20_000] {
        let payload = vec![3; payload_len];
        table.buffer(0).extend_from_slice(&head(payload_len));
        if payload_len < 5000 {
            table.buffer(0).extend_from_slice(&payload);
        } else {
            table.splice(0, Bytes::from(payload.clone()));
        }
        whole.extend(head(payload_len).iter().chain(&payload));
    }
    assert!(table.cut_unfinished().is_empty());
    assert_eq!(queued(&mut table), whole);
}

#[test]
fn a_control_packet_is_written_whole_or_not_at_all() {
    let mut table = EgressTable::default();
    table.open(0);
    table.control(0, |out| out.extend_from_slice(&[0xd0, 0]));
    let cut = catch_unwind(AssertUnwindSafe(|| {
        table.control(0, |out| {
            // As `put_packet` does: the length comes last.
            out.extend_from_slice(&[0x90, 0, 0x30, 0]);
            panic!("while it was encoded");
        });
    }));
    assert!(cut.is_err() && table.cut_unfinished().is_empty());
    assert_eq!(table.at(0).control_backlog_bytes(), 2);
    assert_eq!(queued(&mut table), [0xd0, 0]);
}

#[test]
fn a_flush_sends_buffer_and_spliced_payloads_in_the_order_they_were_queued() {
    let mut table = EgressTable::default();
    table.open(0);
    table.buffer(0).extend_from_slice(b"head1");
    table.splice(0, Bytes::from_static(b"PAYLOAD1"));
    table.buffer(0).extend_from_slice(b"head2");
    table.splice(0, Bytes::from_static(b"PAYLOAD2"));
    table.control(0, |out| out.extend_from_slice(b"ack"));
    let mut flush = Flush::default();
    assert_eq!(table.at(0).backlog_bytes(), 29);
    table.at(0).take(&mut flush);
    assert_eq!(flush.pieces().collect::<Vec<_>>().concat(), b"head1PAYLOAD1head2PAYLOAD2ack");
    assert_eq!((flush.len(), flush.is_empty()), (29, false));
    assert_eq!(table.at(0).backlog_bytes(), 29);
    assert_eq!(table.at(0).control_backlog_bytes(), 3);
    assert!(!table.sent(0, 29));
    assert_eq!(table.at(0).backlog_bytes(), 0);
    assert_eq!(table.at(0).control_backlog_bytes(), 0);
}

#[test]
fn unsent_bytes_are_counted_until_their_flush_is_sent() {
    let mut table = EgressTable::default();
    table.open(0);
    table.buffer(0).extend_from_slice(&[0; 5000]);
    table.splice(0, Bytes::from_static(b"PAYLOAD"));
    table.take_dirty(&mut Vec::new());
    assert_eq!(table.unsent_bytes(), 5000);
    table.at(0).take(&mut Flush::default());
    let _ = table.sent(0, 50);
    assert_eq!(table.unsent_bytes(), 5000);
    let _ = table.sent(0, 4957);
    assert_eq!(table.unsent_bytes(), 0);
    table.buffer(0).extend_from_slice(&[0; 5000]);
    table.take_dirty(&mut Vec::new());
    table.open(0);
    assert_eq!(table.unsent_bytes(), 0);
}

/// Sends all that is queued for a slot, as the driver does.
fn send(table: &mut EgressTable, slot: u32) {
    table.take_dirty(&mut Vec::new());
    let mut flush = Flush::default();
    table.at(slot).take(&mut flush);
    let len = flush.len();
    table.keep_buffer(slot, flush);
    assert!(!table.sent(slot, len));
}

#[test]
fn who_was_sent_control_packets_has_no_egress_and_its_buffer_goes_to_the_next() {
    let mut table = EgressTable::default();
    (0..2).for_each(|slot| table.open(slot));
    assert!(!table.at(0).is_made() && table.at(0).backlog_bytes() == 0 && !table.is_warm());
    table.control(0, |out| out.extend([0; 5000]));
    let buffer = table.buffer(0).as_ptr();
    send(&mut table, 0);
    assert!(!table.at(0).is_made() && table.is_warm());
    table.buffer(1).push(7);
    assert_eq!(table.buffer(1).as_ptr(), buffer);
    assert!(!table.is_warm());
}

#[test]
fn who_was_sent_messages_keeps_its_egress_for_a_while() {
    let mut table = EgressTable::default();
    table.open(0);
    for _ in 0..3 {
        table.buffer(0).push(7);
        let buffer = table.buffer(0).as_ptr();
        send(&mut table, 0);
        table.cool_down();
        assert_eq!(table.at(0).bytes.as_ptr(), buffer);
    }
    table.cool_down();
    assert!(!table.at(0).is_made() && table.is_warm());
    table.cool_down();
    assert!(!table.is_warm() && table.spare_bytes == 0);
}

/// A slot stands once among the lasting, whoever comes and goes in it.
#[test]
fn a_connection_that_goes_leaves_its_egress_to_the_next_in_its_slot() {
    let mut table = EgressTable::default();
    for _ in 0..3 {
        table.open(0);
        table.buffer(0).push(7);
        send(&mut table, 0);
        table.close(0);
    }
    assert_eq!(table.lasting, [0]);
    (0..3).for_each(|_| table.cool_down());
    assert!(!table.at(0).is_made() && !table.is_warm());
}

#[test]
fn spare_buffers_are_freed_when_nobody_has_needed_them_for_a_while() {
    let mut table = EgressTable::default();
    (0..3).for_each(|slot| table.open(slot));
    (0..3).for_each(|slot| table.control(slot, |out| out.push(7)));
    (0..3).for_each(|slot| send(&mut table, slot));
    table.cool_down();
    assert_eq!(table.spare.len(), 3);
    table.control(0, |out| out.push(7));
    send(&mut table, 0);
    table.cool_down();
    assert_eq!(table.spare.len(), 1, "the one that was in use");
    table.cool_down();
    assert!(!table.is_warm() && table.spare_bytes == 0);
}

/// What is on its way is remembered, and counted, although nothing more is queued; what is gone leaves nothing.
#[test]
fn an_egress_is_given_up_when_nothing_is_on_its_way() {
    let mut table = EgressTable::default();
    table.open(0);
    table.buffer(0).extend_from_slice(&[0; 5000]);
    table.take_dirty(&mut Vec::new());
    let mut flush = Flush::default();
    table.at(0).take(&mut flush);
    table.buffer(0);
    table.take_dirty(&mut Vec::new());
    assert_eq!((table.at(0).backlog_bytes(), table.unsent_bytes()), (5000, 5000));
    let mut table = EgressTable::default();
    table.open(0);
    table.buffer(0).push(1);
    table.close(0);
    assert!(table.at(0).is_made(), "it is listed");
    table.take_dirty(&mut Vec::new());
    assert!(!table.at(0).is_made());
}

#[test]
fn a_slot_that_is_closed_while_it_is_listed_is_listed_once() {
    let mut table = EgressTable::default();
    table.open(0);
    table.buffer(0).push(1);
    table.close(0);
    table.open(0);
    assert!(!table.at(0).has_queued());
    table.buffer(0).push(2);
    let mut dirty = Vec::new();
    table.take_dirty(&mut dirty);
    assert_eq!((dirty, queued(&mut table)), (vec![0], vec![2]));
}

#[test]
fn a_connection_is_listed_once_however_much_is_queued() {
    let mut table = EgressTable::default();
    table.open(3);
    table.buffer(3).push(1);
    table.buffer(3).push(2);
    let mut dirty = Vec::new();
    table.take_dirty(&mut dirty);
    assert_eq!(dirty, [3]);
}

#[test]
fn a_slot_is_listed_once_also_for_the_connection_that_comes_after() {
    let mut table = EgressTable::default();
    table.open(3);
    table.buffer(3).push(1);
    table.close(3);
    table.open(3);
    table.buffer(3).push(2);
    let mut dirty = Vec::new();
    table.take_dirty(&mut dirty);
    assert_eq!(dirty, [3]);
}

#[test]
fn unsent_bytes_are_counted_from_a_page_on() {
    for (bytes, counted) in [(4095, 0), (4096, 4096), (4097, 4097)] {
        let mut table = EgressTable::default();
        table.open(0);
        table.buffer(0).extend_from_slice(&vec![0; bytes]);
        table.take_dirty(&mut Vec::new());
        assert_eq!(table.unsent_bytes(), counted);
    }
}

/// A payload belongs to the head before it: one without is no packet, and leaves the one before it whole.
#[test]
fn a_payload_without_its_head_is_taken_out() {
    let mut table = EgressTable::default();
    table.open(0);
    table.control(0, |out| out.extend_from_slice(&[0x40, 2, 0, 1]));
    table.splice(0, Bytes::from(vec![9; 5000]));
    assert_eq!(table.cut_unfinished(), [0]);
    assert_eq!(queued(&mut table), [0x40, 2, 0, 1]);
}

#[test]
fn spare_buffers_are_bounded_by_number_and_by_bytes() {
    let keep = |table: &mut EgressTable, capacity| {
        let mut spare = Seldom::<Egress>::new();
        spare.bytes = Vec::with_capacity(capacity);
        table.keep(spare);
    };
    let mut table = EgressTable::default();
    (0..SPARE_MAX + 2).for_each(|_| keep(&mut table, 1));
    assert_eq!(table.spare.len(), SPARE_MAX);
    let mut table = EgressTable::default();
    for kept in [1, 2, 2] {
        keep(&mut table, SPARE_BYTES_MAX / 2);
        assert_eq!(table.spare.len(), kept);
    }
}

#[test]
fn a_low_backlog_is_reported_once_when_it_was_asked_for() {
    let mut table = EgressTable::default();
    table.open(0);
    table.buffer(0).extend_from_slice(&[0; 100]);
    table.at(0).report_below(50);
    table.at(0).take(&mut Flush::default());
    assert!(!table.sent(0, 40));
    assert!(!table.sent(0, 10), "as much is not below");
    assert!(table.sent(0, 1));
    assert!(!table.sent(0, 49));
}
