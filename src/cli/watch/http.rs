//! A small HTTP server for this machine: it answers GET and HEAD, one request a connection.
//!
//! Nothing that a client sends takes more than a bounded amount of memory, threads and time.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use defrost::run::Interrupt;

use super::request::{Refusal, Request, parse};

/// Further connections wait in the queue of the system.
const CONNECTIONS: usize = 16;
/// The maximum size of a request's line and headers.
const HEAD: usize = 8 << 10;
const HEAD_TIME: Duration = Duration::from_secs(5);
/// The time for an answer, and the bytes per second that extend it.
const ANSWER_TIME: Duration = Duration::from_secs(30);
const SLOWEST: u64 = 16 << 10;
/// The interval of looking for connections and for Ctrl-C.
const INTERVAL: Duration = Duration::from_millis(25);
/// What a refused client may still send, so that it reads the answer before the connection is reset.
const REST: usize = 1 << 20;

/// An answer.
pub struct Answer {
    pub status: u16,
    pub kind: &'static str,
    pub body: Body,
    /// What the answer may load and do in a browser (`Content-Security-Policy`).
    pub policy: &'static str,
}

pub enum Body {
    Bytes(Vec<u8>),
    /// A file of this length.
    File(File, u64),
}

impl Answer {
    /// A line of text.
    pub fn text(status: u16, text: &str) -> Self {
        Self {
            status,
            kind: "text/plain; charset=utf-8",
            body: Body::Bytes(format!("{text}\n").into_bytes()),
            policy: "default-src 'none'",
        }
    }
}

/// Answers requests until a stop is requested.
///
/// # Errors
/// The socket fails.
pub fn serve(
    listener: &TcpListener,
    interrupt: &Interrupt,
    answer: &(dyn Fn(&Request) -> Answer + Sync),
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let open = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        while !interrupt.requested() {
            if open.load(Ordering::Acquire) >= CONNECTIONS {
                std::thread::sleep(INTERVAL);
                continue;
            }
            let client = match listener.accept() {
                Ok((client, _)) => client,
                Err(error) if passes(&error) => {
                    std::thread::sleep(INTERVAL);
                    continue;
                }
                Err(error) => return Err(error),
            };
            open.fetch_add(1, Ordering::AcqRel);
            let open = &open;
            let work = move || {
                Connection { client, interrupt }.answer(answer);
                open.fetch_sub(1, Ordering::AcqRel);
            };
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                // No more threads: this client is dropped.
                open.fetch_sub(1, Ordering::AcqRel);
            }
        }
        Ok(())
    })
}

/// Whether an error concerns one connection, or passes: no client, a client that left, too many open files.
fn passes(error: &std::io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | ConnectionAborted | ConnectionReset)
        || matches!(error.raw_os_error(), Some(23 | 24))
}

struct Connection<'a> {
    client: TcpStream,
    interrupt: &'a Interrupt,
}

impl Connection<'_> {
    fn answer(mut self, answer: &(dyn Fn(&Request) -> Answer + Sync)) {
        let ready = self.client.set_nonblocking(false);
        let timeouts = ready
            .and_then(|()| self.client.set_read_timeout(Some(10 * INTERVAL)))
            .and_then(|()| self.client.set_write_timeout(Some(10 * INTERVAL)));
        if timeouts.is_err() {
            return;
        }
        let (answer, body) = match self.head().and_then(|head| parse(&head)) {
            // A panic is a bug, which its hook reports; the other clients still get their answers.
            Ok((request, body)) => match catch_unwind(AssertUnwindSafe(|| answer(&request))) {
                Ok(answer) => (answer, body),
                Err(_) => (Answer::text(500, "a bug in defrost: the terminal says more"), body),
            },
            Err(Refusal::Status(status, text)) => (Answer::text(status, text), true),
            Err(Refusal::Gone) => return,
        };
        if self.send(answer, body).is_some() {
            let _ = self.client.shutdown(Shutdown::Write);
            self.drain();
        }
    }

    /// The request line and the headers.
    fn head(&mut self) -> Result<Vec<u8>, Refusal> {
        let (begun, mut head, mut buffer) = (Instant::now(), Vec::new(), [0; 1 << 10]);
        loop {
            let read = match self.client.read(&mut buffer) {
                Ok(0) => return Err(Refusal::Gone),
                Ok(read) => read,
                Err(error) if is_timeout(&error) => 0,
                Err(_) => return Err(Refusal::Gone),
            };
            head.extend_from_slice(&buffer[..read]);
            if let Some(end) = head.windows(4).position(|end| end == b"\r\n\r\n") {
                if end > HEAD {
                    return Err(Refusal::Status(431, "the request has too many headers"));
                }
                head.truncate(end);
                return Ok(head);
            }
            if head.len() > HEAD {
                return Err(Refusal::Status(431, "the request has too many headers"));
            }
            if self.interrupt.requested() || begun.elapsed() > HEAD_TIME {
                return Err(Refusal::Gone);
            }
        }
    }

    /// Sends an answer; `None` if the client does not take it.
    fn send(&mut self, answer: Answer, with_body: bool) -> Option<()> {
        let length = match &answer.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File(_, length) => *length,
        };
        let head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {length}\r\n\
             Content-Security-Policy: {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
             Cache-Control: no-store\r\nConnection: close\r\nCross-Origin-Opener-Policy: same-origin\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\nReferrer-Policy: no-referrer\r\n\
             X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n\r\n",
            answer.status,
            reason(answer.status),
            answer.kind,
            answer.policy
        );
        let limit = ANSWER_TIME + Duration::from_secs(length / SLOWEST);
        let (begun, mut buffer) = (Instant::now(), vec![0; 64 << 10]);
        self.write(head.as_bytes(), begun, limit)?;
        match answer.body {
            _ if !with_body => {}
            Body::Bytes(bytes) => self.write(&bytes, begun, limit)?,
            Body::File(file, length) => {
                // A file may grow meanwhile.
                let mut file = file.take(length);
                loop {
                    match file.read(&mut buffer) {
                        Ok(0) => break,
                        Ok(read) => self.write(&buffer[..read], begun, limit)?,
                        Err(_) => return None,
                    }
                }
            }
        }
        Some(())
    }

    fn write(&mut self, mut bytes: &[u8], begun: Instant, limit: Duration) -> Option<()> {
        while !bytes.is_empty() {
            match self.client.write(bytes) {
                Ok(0) => return None,
                Ok(written) => bytes = &bytes[written..],
                Err(error) if is_timeout(&error) => {}
                Err(_) => return None,
            }
            if self.interrupt.requested() || begun.elapsed() > limit {
                return None;
            }
        }
        Some(())
    }

    /// Reads what the client still sends: a connection closed with unread bytes is reset, and the answer lost.
    fn drain(&mut self) {
        let (begun, mut rest, mut buffer) = (Instant::now(), REST, [0; 4 << 10]);
        while rest > 0 && begun.elapsed() < HEAD_TIME && !self.interrupt.requested() {
            match self.client.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => rest = rest.saturating_sub(read),
                Err(error) if is_timeout(&error) => {}
                Err(_) => return,
            }
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        _ => "Internal Server Error",
    }
}
