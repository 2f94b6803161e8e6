//! Upgrade: from an HTTP request to a WebSocket, or to the answer why not (RFC 6455, section 4.2; MQTT 5.0, section 6).
//!
//! Duty: read the head of one request, answer it. Must not: read a body, or more of a head than its bound. Neighbours:
//! `websocket` keeps the bytes until the head is complete and goes on after it.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use httparse::{EMPTY_HEADER, Header, Request, Status};

/// Most header lines of a request.
const HEADERS_MAX: usize = 64;

/// What stands behind the client's key when the answer to it is made (RFC 6455, section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Length of a key: 16 random bytes.
const KEY_BYTES: usize = 16;

/// Subprotocols, the best first [MQTT-6.0.0-4]; the second is what clients of MQTT 3.1 ask for.
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// What a head was answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Bytes of the head, which was answered with 101.
    Agreed(usize),
    /// It was answered with an error; the connection is to be closed. For the log.
    Refused(&'static str),
}

/// An HTTP error: its status line, a header line or nothing, why.
struct Refusal(&'static str, &'static str, &'static str);

const BAD_REQUEST: &str = "400 Bad Request";

/// Answers the request that begins with `head`, into `out`; `None` while its head is not complete. `origins`: of the pages that
/// may come here, empty for all; who names none is no page.
pub(super) fn answer(head: &[u8], head_bytes_max: usize, origins: &[String], out: &mut Vec<u8>) -> Option<Answer> {
    match read(head, head_bytes_max, origins) {
        Ok(None) => None,
        Ok(Some((len, accept, subprotocol))) => {
            let lines = [
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
                &accept,
                "\r\nSec-WebSocket-Protocol: ",
                subprotocol,
                "\r\n\r\n",
            ];
            lines.iter().for_each(|line| out.extend_from_slice(line.as_bytes()));
            Some(Answer::Agreed(len))
        }
        Err(Refusal(status, header, why)) => {
            let lines = [
                "HTTP/1.1 ",
                status,
                "\r\n",
                header,
                "Connection: close\r\nContent-Type: text/plain\r\nContent-Length: ",
                &(why.len() + 1).to_string(),
                "\r\n\r\n",
                why,
                "\n",
            ];
            lines.iter().for_each(|line| out.extend_from_slice(line.as_bytes()));
            Some(Answer::Refused(why))
        }
    }
}

/// Length of the head, the answer to its key, and the subprotocol.
type Agreement = (usize, String, &'static str);

fn read(head: &[u8], head_bytes_max: usize, origins: &[String]) -> Result<Option<Agreement>, Refusal> {
    const TOO_LARGE: Refusal =
        Refusal("431 Request Header Fields Too Large", "", "the HTTP request header is too large");
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    let len = match request.parse(&head[..head.len().min(head_bytes_max)]) {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) if head.len() < head_bytes_max => return Ok(None),
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Err(TOO_LARGE),
        Err(_) => return Err(Refusal(BAD_REQUEST, "", "this is no HTTP request")),
    };
    if request.method != Some("GET") {
        return Err(Refusal("405 Method Not Allowed", "Allow: GET\r\n", "only GET opens a WebSocket"));
    }
    if request.version != Some(1) {
        return Err(Refusal(BAD_REQUEST, "", "a WebSocket needs HTTP/1.1"));
    }
    let (accept, subprotocol) = agree(request.headers, origins)?;
    Ok(Some((len, accept, subprotocol)))
}

fn agree(headers: &[Header<'_>], origins: &[String]) -> Result<(String, &'static str), Refusal> {
    let bad = |why| Refusal(BAD_REQUEST, "", why);
    if values(headers, "Transfer-Encoding").next().is_some()
        || values(headers, "Content-Length").any(|length| length != "0")
    {
        return Err(bad("a request for a WebSocket has no body"));
    }
    if !has_token(headers, "Upgrade", "websocket") || !has_token(headers, "Connection", "upgrade") {
        return Err(Refusal("426 Upgrade Required", UPGRADE, "this address speaks MQTT over WebSocket"));
    }
    if only(headers, "Sec-WebSocket-Version") != Some("13") {
        return Err(Refusal("426 Upgrade Required", VERSION, "only version 13 of WebSocket is spoken here"));
    }
    if only(headers, "Host").is_none() {
        return Err(bad("the Host header is missing, or there are several"));
    }
    let is_welcome = |origin: &str| origins.iter().any(|welcome| welcome.eq_ignore_ascii_case(origin));
    if !origins.is_empty() && !values(headers, "Origin").all(is_welcome) {
        return Err(Refusal("403 Forbidden", "", "pages of this origin may not connect"));
    }
    let key = only(headers, "Sec-WebSocket-Key").unwrap_or_default();
    if STANDARD.decode(key).map_or(0, |key| key.len()) != KEY_BYTES {
        return Err(bad("the Sec-WebSocket-Key header is missing or is not 16 bytes in base64"));
    }
    let has_offered = |name: &&&str| tokens(headers, "Sec-WebSocket-Protocol").any(|offered| offered == **name);
    let Some(subprotocol) = SUBPROTOCOLS.iter().find(has_offered) else {
        return Err(bad("the client does not offer the WebSocket subprotocol mqtt"));
    };
    Ok((accept_of(key), subprotocol))
}

const UPGRADE: &str = "Upgrade: websocket\r\n";
const VERSION: &str = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";

fn accept_of(key: &str) -> String {
    let mut hashed = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hashed.update(key.as_bytes());
    hashed.update(GUID);
    STANDARD.encode(hashed.finish())
}

/// Values of all headers with this name; one that is no text is read as empty.
fn values<'a>(headers: &'a [Header<'_>], name: &'a str) -> impl Iterator<Item = &'a str> {
    let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| std::str::from_utf8(header.value).unwrap_or_default().trim())
}

/// The value of the only header with this name.
fn only<'a>(headers: &'a [Header<'_>], name: &'a str) -> Option<&'a str> {
    let mut values = values(headers, name);
    values.next().filter(|_| values.next().is_none())
}

/// The words of a header that is a list.
fn tokens<'a>(headers: &'a [Header<'_>], name: &'a str) -> impl Iterator<Item = &'a str> {
    values(headers, name).flat_map(|list| list.split(',')).map(str::trim)
}

fn has_token(headers: &[Header<'_>], name: &str, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD_BYTES_MAX: usize = 8192;

    fn request(lines: &[&str]) -> String {
        let base = [
            "GET /mqtt HTTP/1.1",
            "Host: broker.example",
            "Upgrade: WebSocket",
            "Connection: keep-alive, Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: chat, mqtt",
        ];
        let name = |line: &str| line.split(':').next().unwrap().to_owned();
        let replaced = |line: &&&str| !lines.iter().any(|own| name(own) == name(line));
        let kept: Vec<&str> = base.iter().filter(replaced).copied().collect();
        // A line without a value takes that header out; a request line replaces the first.
        let own: Vec<&str> = lines.iter().copied().filter(|line| !line.ends_with(':')).collect();
        let (start, own): (Vec<_>, Vec<_>) = own.into_iter().partition(|line| line.contains(" HTTP/"));
        let kept = if start.is_empty() { kept } else { kept[1..].to_vec() };
        [start, kept, own].concat().join("\r\n") + "\r\n\r\n"
    }

    fn status(request: &str, origins: &[&str]) -> String {
        let origins: Vec<String> = origins.iter().map(ToString::to_string).collect();
        let mut out = Vec::new();
        let answer = answer(request.as_bytes(), HEAD_BYTES_MAX, &origins, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(answer.is_none() || text.contains("\r\n\r\n"), "{text}");
        text.split(' ').nth(1).unwrap_or("none").to_owned()
    }

    /// [MQTT-6.0.0-3], [MQTT-6.0.0-4], [v3.1.1 MQTT-6.0.0-4]: the client offers `mqtt`, the server selects it; the key is that of RFC 6455.
    #[test]
    fn a_good_request_is_answered_with_the_key_and_the_subprotocol() {
        let mut out = Vec::new();
        let request = request(&[]);
        let with_more = request.clone() + "frames";
        assert_eq!(answer(with_more.as_bytes(), HEAD_BYTES_MAX, &[], &mut out), Some(Answer::Agreed(request.len())));
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("HTTP/1.1 101 Switching Protocols\r\n") && text.ends_with("\r\n\r\n"), "{text}");
        assert!(text.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{text}");
        assert!(text.contains("\r\nSec-WebSocket-Protocol: mqtt\r\n"), "{text}");
    }

    #[test]
    fn the_older_name_of_the_subprotocol_is_taken_when_it_is_the_only_one() {
        assert_eq!(status(&request(&["Sec-WebSocket-Protocol: mqttv3.1"]), &[]), "101");
        let mut out = Vec::new();
        answer(request(&["Sec-WebSocket-Protocol: mqttv3.1, mqtt"]).as_bytes(), HEAD_BYTES_MAX, &[], &mut out);
        assert!(String::from_utf8(out).unwrap().contains("Sec-WebSocket-Protocol: mqtt\r\n"));
    }

    /// Case T07.
    #[test]
    fn a_request_that_is_no_good_gets_the_error_that_says_so() {
        for (lines, expected) in [
            (&["Upgrade:"][..], "426"),
            (&["Connection: close"], "426"),
            (&["Sec-WebSocket-Version: 8"], "426"),
            (&["Sec-WebSocket-Key:"], "400"),
            (&["Sec-WebSocket-Key: dGhlIHNhbXBsZQ=="], "400"),
            (&["Sec-WebSocket-Protocol:"], "400"),
            (&["Sec-WebSocket-Protocol: MQTT"], "400"),
            (&["Host:"], "400"),
            (&["Host: a", "Host: b"], "400"),
            (&["GET / HTTP/1.0"], "400"),
            (&["POST / HTTP/1.1"], "405"),
            (&["Content-Length: 5"], "400"),
            (&["Transfer-Encoding: chunked"], "400"),
            (&["Bad Header"], "400"),
        ] {
            assert_eq!(status(&request(lines), &[]), expected, "{lines:?}");
        }
        assert_eq!(status("\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0", &[]), "400");
    }

    /// Case T07: the origin of a page.
    #[test]
    fn pages_of_other_origins_are_refused_and_who_is_no_page_is_not() {
        let from = |origin: &str| request(&[&format!("Origin: {origin}")]);
        assert_eq!(status(&from("https://evil.example"), &[]), "101");
        assert_eq!(status(&from("https://evil.example"), &["https://good.example"]), "403");
        assert_eq!(status(&from("https://GOOD.example"), &["https://good.example"]), "101");
        assert_eq!(status(&from("null"), &["https://good.example"]), "403");
        assert_eq!(status(&request(&[]), &["https://good.example"]), "101");
    }

    /// Case T07: 1 MiB of header, many headers, no end.
    #[test]
    fn a_head_without_end_is_refused_at_the_bound_and_not_before() {
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(HEAD_BYTES_MAX));
        assert_eq!(status(&long[..HEAD_BYTES_MAX - 1], &[]), "none");
        assert_eq!(status(&long[..HEAD_BYTES_MAX], &[]), "431");
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(status(&many, &[]), "431");
    }
}
