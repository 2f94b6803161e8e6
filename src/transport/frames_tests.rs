//! Tests of `frames`: random frames cut anywhere, and what is refused.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// A client's frame.
fn frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = Vec::new();
    put_header(first & 0x0f, payload.len(), &mut frame);
    frame[0] = first;
    frame[1] |= 0x80;
    frame.extend(mask);
    frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    frame
}

/// All data and all that came between, of a stream in these pieces.
fn taken<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<(Vec<u8>, Vec<Control>), Breach> {
    let mut frames = Frames::new(MESSAGE_BYTES_MAX);
    let (mut data, mut controls) = (Vec::new(), Vec::new());
    for mut piece in pieces {
        while !piece.is_empty() {
            let (used, control) = frames.take(piece, &mut data)?;
            assert!(used > 0);
            piece = &piece[used..];
            controls.extend(control);
        }
    }
    Ok((data, controls))
}

fn code_of(bytes: &[u8]) -> u16 {
    taken([bytes]).unwrap_err().code
}

proptest! {
    /// [MQTT-6.0.0-2], [v3.1.1 MQTT-6.0.0-2], case T06: frames are cut anywhere, also inside a header, and mean the same.
    #[test]
    fn frames_cut_anywhere_carry_the_same_data(
        messages in vec((vec(any::<u8>(), 0..300), any::<[u8; 4]>(), 0_u8..3), 1..12),
        piece in 1_usize..64,
    ) {
        let (mut stream, mut data, mut pings) = (Vec::new(), Vec::<u8>::new(), 0);
        for (payload, mask, kind) in &messages {
            data.extend(payload);
            if *kind == 0 {
                stream.extend(frame(FIN | BINARY, payload, *mask));
                continue;
            }
            let (first, rest) = payload.split_at(payload.len() / 2);
            stream.extend(frame(BINARY, first, *mask));
            if *kind == 1 {
                stream.extend(frame(FIN | PING, b"are you there", *mask));
                pings += 1;
            }
            stream.extend(frame(CONTINUATION, b"", *mask));
            stream.extend(frame(FIN | CONTINUATION, rest, *mask));
        }
        let (whole, controls) = taken([&stream[..]]).unwrap();
        prop_assert_eq!(&whole, &data);
        prop_assert_eq!(controls.len(), pings);
        prop_assert_eq!(taken(stream.chunks(piece)).unwrap(), (whole, controls));
    }

    #[test]
    fn no_bytes_at_all_make_it_panic_or_keep_more_than_came(bytes in vec(any::<u8>(), 0..400), piece in 1_usize..40) {
        if let Ok((data, _)) = taken(bytes.chunks(piece)) {
            prop_assert!(data.capacity() <= 4 * bytes.len() + 64);
        }
        prop_assert_eq!(taken(bytes.chunks(piece)), taken([&bytes[..]]));
    }
}

/// Case T01.
#[test]
fn a_frame_without_a_mask_is_refused() {
    assert_eq!(code_of(&[0x82, 0x02, 0xc0, 0x00, 0, 0]), PROTOCOL_ERROR);
}

/// [MQTT-6.0.0-1], [v3.1.1 MQTT-6.0.0-1]: other data than binary closes the connection.
#[test]
fn a_text_frame_is_refused_as_data_that_is_not_accepted() {
    assert_eq!(code_of(&frame(FIN | TEXT, b"hello", [1, 2, 3, 4])), UNACCEPTABLE_DATA);
}

/// Case T02.
#[test]
fn an_empty_frame_is_no_bytes() {
    assert_eq!(taken([&frame(FIN | BINARY, b"", [9; 4])[..]]), Ok((Vec::new(), Vec::new())));
}

/// Case T03: the announced length is refused before any of it has come.
#[test]
fn a_frame_or_message_longer_than_the_bound_is_refused_by_its_header() {
    for len in [1_u64 << 63, 4 << 30, MESSAGE_BYTES_MAX as u64 + 1] {
        let header = [&[0x82, 0xff][..], &len.to_be_bytes(), &[0; 4]].concat();
        assert_eq!(code_of(&header), TOO_BIG, "{len}");
    }
    let part = frame(CONTINUATION, &[0; 1000], [0; 4]);
    let endless = [frame(BINARY, b"", [0; 4]), part.repeat(MESSAGE_BYTES_MAX / 1000 + 1)].concat();
    assert_eq!(code_of(&endless), TOO_BIG);
    let whole = frame(FIN | BINARY, &[0; 1000], [0; 4]);
    assert!(taken([&whole.repeat(MESSAGE_BYTES_MAX / 1000 + 1)[..]]).is_ok(), "messages are not summed up");
}

#[test]
fn frames_that_break_the_rules_are_refused() {
    let mask = [1, 2, 3, 4];
    for bad in [
        frame(FIN | 0x40 | BINARY, b"", mask),
        frame(FIN | 0x3, b"", mask),
        frame(FIN | 0xB, b"", mask),
        frame(PING, b"", mask),
        frame(FIN | CONTINUATION, b"", mask),
        [frame(BINARY, b"", mask), frame(FIN | BINARY, b"", mask)].concat(),
        frame(FIN | PING, &[0; 126], mask),
        frame(FIN | CLOSE, &[3], mask),
        frame(FIN | CLOSE, &1005_u16.to_be_bytes(), mask),
        frame(FIN | CLOSE, &[3, 0xe8, 0xff], mask),
        vec![0x82, 0xfe, 0, 5, 1, 2, 3, 4],
        vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4],
    ] {
        assert_eq!(code_of(&bad), PROTOCOL_ERROR, "{bad:02x?}");
    }
}

#[test]
fn a_close_tells_its_code() {
    let close = |payload: &[u8]| taken([&frame(FIN | CLOSE, payload, [7; 4])[..]]).unwrap().1;
    assert_eq!(close(b""), [Control::Close(None)]);
    assert_eq!(close(b"\x03\xe9bye"), [Control::Close(Some(1001))]);
}
