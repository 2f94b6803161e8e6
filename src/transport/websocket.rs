//! WebSocket: MQTT inside a WebSocket (MQTT 5.0, section 6; RFC 6455).
//!
//! Duty: first the upgrade, then the bytes of MQTT out of the client's frames and into ours; answer pings and the close. Must
//! not: see MQTT packets: frames cut them anywhere [MQTT-6.0.0-2]. Neighbours: `upgrade`, `frames`; `Transport` is above.

use std::sync::Arc;

use super::frames::{self, Breach, Control, Frames};
use super::upgrade::{self, Answer};
use super::{End, Web};

/// One WebSocket, from its first byte.
#[derive(Debug)]
pub(super) struct WebSocket {
    setup: Arc<Web>,
    stage: Stage,
    /// The answer to the last ping, which was not sent yet.
    pong: Option<Vec<u8>>,
    /// What else was not sent yet: the answer to the request, or a close frame.
    output: Vec<u8>,
}

#[derive(Debug)]
enum Stage {
    /// What came of the request.
    Upgrade(Vec<u8>),
    Open(Frames),
    /// A close frame stands in `output` or was sent, or the request was refused: nothing is taken or sent any more.
    Closed,
}

impl WebSocket {
    /// A connection on which the request has yet to come.
    pub(super) fn new(setup: Arc<Web>) -> Self {
        Self { setup, stage: Stage::Upgrade(Vec::new()), pong: None, output: Vec::new() }
    }

    /// Takes what came; MQTT's bytes go behind `plain`, up to the end if there is one.
    pub(super) fn receive(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), End> {
        let Stage::Upgrade(head) = &mut self.stage else { return self.take_frames(bytes, plain) };
        head.extend_from_slice(bytes);
        match upgrade::answer(head, self.setup.upgrade_bytes_max, &self.setup.origins, &mut self.output) {
            None => Ok(()),
            Some(Answer::Refused(why)) => {
                self.stage = Stage::Closed;
                Err(End::Fault(why.into()))
            }
            Some(Answer::Agreed(len)) => {
                let rest = head.split_off(len);
                self.stage = Stage::Open(Frames::new(self.setup.message_bytes_max));
                self.take_frames(&rest, plain)
            }
        }
    }

    fn take_frames(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), End> {
        while !bytes.is_empty() {
            let Stage::Open(frames) = &mut self.stage else { return Ok(()) };
            match frames.take(bytes, plain) {
                Ok((used, control)) => {
                    bytes = &bytes[used..];
                    match control {
                        // Only the last is owed an answer (RFC 6455, section 5.5.3).
                        Some(Control::Ping(payload)) => self.pong = Some(payload),
                        Some(Control::Close(code)) => {
                            self.close(code.unwrap_or(frames::NORMAL));
                            return Err(End::Closed);
                        }
                        None => {}
                    }
                }
                Err(Breach { code, what }) => {
                    self.close(code);
                    return Err(End::Fault(what.into()));
                }
            }
        }
        Ok(())
    }

    fn close(&mut self, code: u16) {
        self.stage = Stage::Closed;
        self.pong = None;
        frames::put_close(code, &mut self.output);
    }

    /// Whether something of its own is to be sent.
    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty() || self.pong.is_some()
    }

    /// What is to be sent before `len` bytes of MQTT: its own, and the header of their frame. Whether MQTT may be sent at all.
    pub(super) fn put_before(&mut self, len: usize, out: &mut Vec<u8>) -> bool {
        out.append(&mut self.output);
        if let Some(payload) = self.pong.take() {
            frames::put_pong(&payload, out);
        }
        let is_open = matches!(self.stage, Stage::Open(_));
        if is_open && len > 0 {
            frames::put_data_header(len, out);
        }
        is_open
    }

    /// The last that is sent, unless a close frame was.
    pub(super) fn put_farewell(&mut self, out: &mut Vec<u8>) {
        if matches!(self.stage, Stage::Open(_)) {
            self.close(frames::NORMAL);
        }
        out.append(&mut self.output);
    }
}
