//! Frames: the data of a WebSocket, cut into frames (RFC 6455, section 5).
//!
//! Duty: take the payload out of a client's frames as it comes, without waiting for the end of one; say what breaks the rules.
//! Must not: keep more than a header and the payload of one control frame, whatever length a frame announces. Neighbours:
//! `websocket` answers what was heard.

/// The longest payload of a control frame, bytes (RFC 6455, section 5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// The longest header of a client's frame: two bytes, a length of eight, a mask of four.
const HEADER_BYTES_MAX: usize = 14;

/// Close codes that are said here (RFC 6455, section 7.4.1).
pub(super) const NORMAL: u16 = 1000;
pub(super) const PROTOCOL_ERROR: u16 = 1002;
pub(super) const UNACCEPTABLE_DATA: u16 = 1003;
pub(super) const TOO_BIG: u16 = 1009;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
const FIN: u8 = 0x80;

/// Why a WebSocket has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Breach {
    /// The close code that says so.
    pub(super) code: u16,
    /// The same for the log.
    pub(super) what: &'static str,
}

const fn breach(code: u16, what: &'static str) -> Breach {
    Breach { code, what }
}

/// What came between the data.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// To be answered with the same payload.
    Ping(Vec<u8>),
    /// The client closes, with this code if it gave one.
    Close(Option<u16>),
}

/// A frame whose header is known.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: u8,
    is_final: bool,
    mask: [u8; 4],
    /// Payload bytes that have come.
    taken: u64,
    len: u64,
}

/// The frames of one client.
#[derive(Debug)]
pub(super) struct Frames {
    header: [u8; HEADER_BYTES_MAX],
    header_len: usize,
    frame: Option<Frame>,
    /// Whether a message has begun whose last frame has not.
    is_fragmented: bool,
    /// Announced bytes of the message that is being taken.
    message_bytes: u64,
    message_bytes_max: u64,
    control: Vec<u8>,
}

impl Frames {
    /// No frame yet. `message_bytes_max`: most payload bytes of one message, all its frames together.
    pub(super) fn new(message_bytes_max: usize) -> Self {
        Self {
            header: [0; HEADER_BYTES_MAX],
            header_len: 0,
            frame: None,
            is_fragmented: false,
            message_bytes: 0,
            message_bytes_max: message_bytes_max as u64,
            control: Vec::new(),
        }
    }

    /// Takes what came, up to the end of the next control frame: its data goes behind `data`. Returns the bytes used up.
    ///
    /// # Errors
    /// The client breaks the protocol.
    pub(super) fn take(&mut self, bytes: &[u8], data: &mut Vec<u8>) -> Result<(usize, Option<Control>), Breach> {
        let mut used = 0;
        loop {
            let Some(mut frame) = self.frame.take() else {
                if !self.take_header(bytes, &mut used)? {
                    return Ok((used, None));
                }
                continue;
            };
            let rest = &bytes[used..];
            let part = usize::try_from(frame.len - frame.taken).unwrap_or(usize::MAX).min(rest.len());
            let into = if frame.opcode & CLOSE == 0 { &mut *data } else { &mut self.control };
            unmask(&rest[..part], frame.mask, frame.taken, into);
            used += part;
            frame.taken += part as u64;
            if frame.taken < frame.len {
                self.frame = Some(frame);
                return Ok((used, None));
            }
            if let Some(control) = self.end(frame)? {
                return Ok((used, Some(control)));
            }
        }
    }

    /// Whether a header is complete now.
    fn take_header(&mut self, bytes: &[u8], used: &mut usize) -> Result<bool, Breach> {
        loop {
            let wanted = header_bytes(&self.header[..self.header_len]);
            if self.header_len == wanted {
                self.frame = Some(self.begin()?);
                self.header_len = 0;
                return Ok(true);
            }
            let Some(&byte) = bytes.get(*used) else { return Ok(false) };
            *used += 1;
            self.header[self.header_len] = byte;
            self.header_len += 1;
        }
    }

    fn begin(&mut self) -> Result<Frame, Breach> {
        let header = &self.header[..self.header_len];
        let (first, second) = (header[0], header[1]);
        let (opcode, is_final) = (first & 0x0f, first & FIN != 0);
        if first & 0x70 != 0 {
            return Err(breach(PROTOCOL_ERROR, "a WebSocket frame has bits of an extension that was not agreed on"));
        }
        if second & 0x80 == 0 {
            return Err(breach(PROTOCOL_ERROR, "a WebSocket frame is not masked"));
        }
        let (length, mask) = header[2..].split_at(header.len() - 6);
        let mask = [mask[0], mask[1], mask[2], mask[3]];
        let len = match length.len() {
            0 => u64::from(second & 0x7f),
            _ => length.iter().fold(0, |len, byte| (len << 8) | u64::from(*byte)),
        };
        let is_minimal = match length.len() {
            0 => true,
            2 => len > CONTROL_BYTES_MAX as u64,
            _ => len > u64::from(u16::MAX),
        };
        if !is_minimal {
            return Err(breach(PROTOCOL_ERROR, "the length of a WebSocket frame is not in its shortest form"));
        }
        self.check_kind(opcode, is_final, len)?;
        Ok(Frame { opcode, is_final, mask, taken: 0, len })
    }

    fn check_kind(&mut self, opcode: u8, is_final: bool, len: u64) -> Result<(), Breach> {
        match opcode {
            CLOSE | PING | PONG if is_final && len <= CONTROL_BYTES_MAX as u64 => return Ok(()),
            CLOSE | PING | PONG => {
                return Err(breach(PROTOCOL_ERROR, "a WebSocket control frame is fragmented or too long"));
            }
            TEXT => return Err(breach(UNACCEPTABLE_DATA, "a WebSocket text frame: MQTT is sent in binary frames")),
            BINARY if self.is_fragmented => {
                return Err(breach(PROTOCOL_ERROR, "a WebSocket message begins inside another one"));
            }
            CONTINUATION if !self.is_fragmented => {
                return Err(breach(PROTOCOL_ERROR, "a WebSocket message goes on that has not begun"));
            }
            BINARY | CONTINUATION => {}
            _ => return Err(breach(PROTOCOL_ERROR, "a WebSocket frame of an unknown kind")),
        }
        self.message_bytes = self.message_bytes.saturating_add(len);
        if self.message_bytes > self.message_bytes_max {
            return Err(breach(TOO_BIG, "websocket_message_bytes_max is exceeded"));
        }
        Ok(())
    }

    fn end(&mut self, frame: Frame) -> Result<Option<Control>, Breach> {
        match frame.opcode {
            PING => Ok(Some(Control::Ping(std::mem::take(&mut self.control)))),
            PONG => {
                self.control.clear();
                Ok(None)
            }
            CLOSE => close_code(&std::mem::take(&mut self.control)).map(|code| Some(Control::Close(code))),
            _ => {
                self.is_fragmented = !frame.is_final;
                if frame.is_final {
                    self.message_bytes = 0;
                }
                Ok(None)
            }
        }
    }
}

/// Length of the header that begins with these bytes, as far as they tell.
fn header_bytes(header: &[u8]) -> usize {
    let [_, second, ..] = header else { return 2 };
    match second {
        // Refused at once.
        0..0x80 => 2,
        0xfe => 2 + 2 + 4,
        0xff => 2 + 8 + 4,
        _ => 2 + 4,
    }
}

/// The code of a close frame (RFC 6455, sections 5.5.1 and 7.4).
fn close_code(payload: &[u8]) -> Result<Option<u16>, Breach> {
    const BAD: Breach = breach(PROTOCOL_ERROR, "a WebSocket close frame says nothing that can be said");
    match payload {
        [] => Ok(None),
        [high, low, text @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            let is_known = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            if is_known && std::str::from_utf8(text).is_ok() { Ok(Some(code)) } else { Err(BAD) }
        }
        [_] => Err(BAD),
    }
}

/// Adds `bytes`, of which the first is number `from` of its frame's payload, without their mask.
fn unmask(bytes: &[u8], mut mask: [u8; 4], from: u64, into: &mut Vec<u8>) {
    mask.rotate_left((from % 4) as usize);
    let at = into.len();
    into.extend_from_slice(bytes);
    let mut words = into[at..].chunks_exact_mut(4);
    for word in &mut words {
        word.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    }
    words.into_remainder().iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
}

/// Puts the header of the broker's binary frame with so many payload bytes.
pub(super) fn put_data_header(len: usize, out: &mut Vec<u8>) {
    put_header(BINARY, len, out);
}

/// Puts an answer to a ping.
pub(super) fn put_pong(payload: &[u8], out: &mut Vec<u8>) {
    put_header(PONG, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Puts a close frame.
pub(super) fn put_close(code: u16, out: &mut Vec<u8>) {
    put_header(CLOSE, 2, out);
    out.extend_from_slice(&code.to_be_bytes());
}

fn put_header(opcode: u8, len: usize, out: &mut Vec<u8>) {
    out.push(FIN | opcode);
    if len <= CONTROL_BYTES_MAX {
        out.push(len as u8);
    } else if let Ok(len) = u16::try_from(len) {
        out.push(126);
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(len as u64).to_be_bytes());
    }
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
