//! WebSocket from the client's side: the request and its answer, MQTT's bytes into masked frames and out of the broker's.
//! Must not touch a socket or know MQTT. Neighbours: `carrier` owns it.

use std::io;

/// The client's key. It proves that the other side speaks WebSocket, nothing more, so it may be the same for all.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// What the broker has to make of [`KEY`] (RFC 6455, section 1.3, where both stand).
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Longest head of an answer, bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Longest header of a frame that is not masked, bytes.
const HEADER_BYTES_MAX: usize = 10;

/// Longest payload of a ping, pong or close, bytes.
const CONTROL_BYTES_MAX: u64 = 125;

const FINAL: u8 = 0x80;
const CONTINUATION: u8 = 0x0;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// One WebSocket, from its first byte.
#[derive(Debug)]
pub(super) struct Frames {
    stage: Stage,
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    /// Of the frame that is being read.
    opcode: u8,
    left: u64,
    /// Payload of a control frame.
    control: Vec<u8>,
    pong: Option<Vec<u8>>,
    /// The last mask. The rule that nobody may foresee it protects proxies from pages; here it has only to cost what masks cost.
    mask: u32,
}

#[derive(Debug)]
enum Stage {
    /// The request is to be sent.
    Begun(Box<str>),
    /// What came of the answer.
    Asked(Vec<u8>),
    Open,
    /// The broker has sent a close frame.
    Closed,
}

impl Frames {
    /// A connection to `host`, on which nothing was said.
    pub(super) fn new(host: &str) -> Self {
        let request = format!(
            "GET /mqtt HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        );
        Self {
            stage: Stage::Begun(request.into()),
            header: [0; HEADER_BYTES_MAX],
            header_bytes: 0,
            opcode: CONTINUATION,
            left: 0,
            control: Vec::new(),
            pong: None,
            mask: 0x9e37_79b9,
        }
    }

    /// The broker has ended this WebSocket.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.stage, Stage::Closed)
    }

    /// Appends what is to be sent now: all of `mqtt` in one frame once the broker has agreed, and clears it then.
    pub(super) fn put(&mut self, mqtt: &mut Vec<u8>, out: &mut Vec<u8>) {
        if let Stage::Begun(request) = &self.stage {
            out.extend_from_slice(request.as_bytes());
            self.stage = Stage::Asked(Vec::new());
        }
        if let Some(pong) = self.pong.take() {
            self.put_frame(PONG, &pong, out);
        }
        if matches!(self.stage, Stage::Open) && !mqtt.is_empty() {
            self.put_frame(BINARY, mqtt, out);
            mqtt.clear();
        }
    }

    fn put_frame(&mut self, opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
        out.reserve(HEADER_BYTES_MAX + 4 + payload.len());
        out.push(FINAL | opcode);
        match payload.len() {
            len @ 0..=125 => out.push(0x80 | len as u8),
            len @ 126..=0xffff => {
                out.push(0x80 | 126);
                out.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                out.push(0x80 | 127);
                out.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        // Xorshift: never 0 and never the same twice in a row.
        self.mask ^= self.mask << 13;
        self.mask ^= self.mask >> 17;
        self.mask ^= self.mask << 5;
        let mask = self.mask.to_ne_bytes();
        out.extend_from_slice(&mask);
        let begin = out.len();
        out.extend_from_slice(payload);
        apply(&mut out[begin..], mask);
    }

    /// Takes what came, and leaves MQTT's bytes of it at the front of `bytes`; gives their number.
    ///
    /// Errors: the broker refused, or this is no WebSocket.
    pub(super) fn strip(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let Stage::Asked(head) = &mut self.stage else { return self.unframe(bytes, 0) };
        let before = head.len();
        head.extend_from_slice(bytes);
        let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else {
            return if head.len() < HEAD_BYTES_MAX { Ok(0) } else { Err(strange("a long answer to the upgrade")) };
        };
        let text = String::from_utf8_lossy(&head[..end]).into_owned();
        self.stage = Stage::Open;
        check_answer(&text)?;
        self.unframe(bytes, end + 4 - before)
    }

    fn unframe(&mut self, bytes: &mut [u8], mut at: usize) -> io::Result<usize> {
        let mut kept = 0;
        while at < bytes.len() && !self.is_closed() {
            if self.left == 0 {
                self.header[self.header_bytes] = bytes[at];
                self.header_bytes += 1;
                at += 1;
                self.begin_frame()?;
                continue;
            }
            let taken = (bytes.len() - at).min(usize::try_from(self.left).unwrap_or(usize::MAX));
            if self.opcode >= CLOSE {
                self.control.extend_from_slice(&bytes[at..at + taken]);
            } else {
                bytes.copy_within(at..at + taken, kept);
                kept += taken;
            }
            at += taken;
            self.left -= taken as u64;
            if self.left == 0 {
                self.end_frame();
            }
        }
        Ok(kept)
    }

    /// Looks at the header as far as it came.
    fn begin_frame(&mut self) -> io::Result<()> {
        let header = &self.header[..self.header_bytes];
        let [first, second, rest @ ..] = header else { return Ok(()) };
        self.left = match (second, rest) {
            (len @ 0..=125, _) => u64::from(*len),
            (126, [high, low, ..]) => u64::from(u16::from_be_bytes([*high, *low])),
            (127, &[a, b, c, d, e, f, g, h]) => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            (126 | 127, _) => return Ok(()),
            _ => return Err(strange("a masked frame")),
        };
        self.opcode = first & 0xf;
        let is_known = matches!(self.opcode, CONTINUATION | BINARY | CLOSE | PING | PONG);
        if !is_known || first & 0x70 != 0 || (self.opcode >= CLOSE && self.left > CONTROL_BYTES_MAX) {
            return Err(strange("a frame that is neither binary nor control"));
        }
        self.header_bytes = 0;
        if self.left == 0 {
            self.end_frame();
        }
        Ok(())
    }

    fn end_frame(&mut self) {
        match self.opcode {
            CLOSE => self.stage = Stage::Closed,
            PING => self.pong = Some(std::mem::take(&mut self.control)),
            _ => self.control.clear(),
        }
    }
}

/// Masks or unmasks.
fn apply(bytes: &mut [u8], mask: [u8; 4]) {
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (eights, rest) = bytes.as_chunks_mut::<8>();
    eights.iter_mut().for_each(|eight| *eight = (u64::from_ne_bytes(*eight) ^ wide).to_ne_bytes());
    rest.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
}

fn check_answer(head: &str) -> io::Result<()> {
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("101") {
        return Err(strange(&format!("'{status}' to the upgrade")));
    }
    let has = |name: &str, value: &str| {
        let mut pairs = head.lines().filter_map(|line| line.split_once(':'));
        pairs.any(|(key, text)| key.eq_ignore_ascii_case(name) && text.trim() == value)
    };
    match (has("Sec-WebSocket-Accept", ACCEPT), has("Sec-WebSocket-Protocol", "mqtt")) {
        (true, true) => Ok(()),
        (false, _) => Err(strange("an upgrade that does not answer the key")),
        (true, false) => Err(strange("an upgrade without the subprotocol mqtt")),
    }
}

fn strange(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("WebSocket: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
        Sec-WebSocket-Protocol: mqtt\r\n\r\n";

    fn asked() -> Frames {
        let (mut frames, mut out) = (Frames::new("localhost:1"), Vec::new());
        let mut mqtt = b"CONNECT".to_vec();
        frames.put(&mut mqtt, &mut out);
        assert!(out.starts_with(b"GET /mqtt HTTP/1.1\r\nHost: localhost:1\r\n") && out.ends_with(b"\r\n\r\n"));
        assert_eq!(mqtt, b"CONNECT", "nothing is sent before the broker has agreed");
        frames
    }

    /// What is left of `said` when it comes in pieces of this size.
    fn heard(frames: &mut Frames, said: &[u8], piece: usize) -> io::Result<Vec<u8>> {
        let mut mqtt = Vec::new();
        for piece in said.chunks(piece) {
            let mut bytes = piece.to_vec();
            let kept = frames.strip(&mut bytes)?;
            mqtt.extend_from_slice(&bytes[..kept]);
        }
        Ok(mqtt)
    }

    #[test]
    fn what_the_broker_frames_comes_out_however_it_is_cut() {
        let long = vec![b'x'; 70_000];
        let said = [
            ANSWER,
            b"\x82\x02ab\x89\x01?\x02\x01c\x80\x00\x82\x7e\x00\x03def\x82\x7f\x00\x00\x00\x00\x00\x01\x11\x70",
            &long,
        ]
        .concat();
        for piece in [1, 2, 3, 7, 150, said.len()] {
            let mut frames = asked();
            let mqtt = heard(&mut frames, &said, piece).expect("a good broker");
            assert!(mqtt.starts_with(b"abcdef") && mqtt[6..] == long[..], "{piece}");
            let mut out = Vec::new();
            frames.put(&mut Vec::new(), &mut out);
            assert_eq!(out[..2], [0x8a, 0x81], "the ping is answered");
            assert_eq!(out[6] ^ out[2], b'?');
        }
    }

    #[test]
    fn what_is_sent_is_one_masked_frame_of_every_length() {
        for len in [1, 125, 126, 65_535, 65_536, 300_001] {
            let mut frames = asked();
            heard(&mut frames, ANSWER, 50).expect("a good broker");
            let sent: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let (mut mqtt, mut out) = (sent.clone(), Vec::new());
            frames.put(&mut mqtt, &mut out);
            assert!(mqtt.is_empty());
            let header = [2, 4, 10][usize::from(len > 125) + usize::from(len > 65_535)];
            assert_eq!((out[0], out[1] & 0x80, out.len()), (0x82, 0x80, header + 4 + len));
            let mask = [out[header], out[header + 1], out[header + 2], out[header + 3]];
            assert_ne!(mask, [0; 4]);
            apply(&mut out[header + 4..], mask);
            assert_eq!(out[header + 4..], sent);
        }
    }

    #[test]
    fn who_refuses_or_speaks_otherwise_is_told_apart() {
        let another_key = String::from_utf8(ANSWER.to_vec()).expect("text").replace("s3p", "s3q");
        for (said, why) in [
            (&b"HTTP/1.1 403 Forbidden\r\nX: y\r\n\r\n"[..], "'HTTP/1.1 403 Forbidden'"),
            (another_key.as_bytes(), "the key"),
            (&[ANSWER, b"\x81\x01x"].concat(), "neither binary"),
            (&[ANSWER, b"\x82\x81\0\0\0\0x"].concat(), "masked"),
            (&vec![b'x'; 10_000], "long answer"),
        ] {
            let error = heard(&mut asked(), said, 40).expect_err(why);
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn nothing_is_taken_after_a_close() {
        let mut frames = asked();
        let said = [ANSWER, b"\x82\x01a\x88\x02\x03\xe8\x82\x01b"].concat();
        assert_eq!(heard(&mut frames, &said, said.len()).expect("a good broker"), b"a");
        assert!(frames.is_closed());
    }
}
