//! One HTTP request. A thread reads the answer, so that the caller can stop at any time.

use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use ureq::http::{HeaderMap, Request};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Proxy};

use super::settings::{HubSettings, Proxies};
use super::url::{Origin, shown};
use crate::error::Error;
use crate::events::Interrupt;

/// Sent with every request.
const USER_AGENT: &str = concat!("defrost/", env!("CARGO_PKG_VERSION"));
/// How often a waiting caller looks for a request to stop.
const TICK: Duration = Duration::from_millis(50);
/// The largest answer that is read as text.
const LARGEST_TEXT: usize = 16 << 20;
const CHUNK: usize = 256 << 10;

/// Why a request has no answer.
#[derive(Debug)]
pub enum Failure {
    /// Another attempt may succeed: the cause, for a message.
    Broken(String),
    /// Another attempt fails too.
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

pub struct Http {
    proxies: Proxies,
    certificates: (Option<std::path::PathBuf>, Option<std::path::PathBuf>),
    patience: Duration,
    /// Read once, and only for `https://`.
    tls: OnceLock<TlsConfig>,
}

/// The head of an answer, and its body as it arrives.
#[derive(Debug)]
pub struct Response<'a> {
    pub status: u16,
    pub headers: HeaderMap,
    messages: Receiver<Message>,
    waiting: Waiting<'a>,
}

enum Message {
    Head(u16, HeaderMap),
    Chunk(Vec<u8>),
    End,
    Failed(ureq::Error),
}

/// What a caller needs to wait, and to describe a failure.
#[derive(Debug)]
struct Waiting<'a> {
    interrupt: &'a Interrupt,
    patience: Duration,
    host: String,
    proxy: Option<String>,
}

impl Http {
    pub fn new(settings: &HubSettings) -> Self {
        Self {
            proxies: settings.proxies.clone(),
            certificates: settings.certificates.clone(),
            patience: settings.patience,
            tls: OnceLock::new(),
        }
    }

    /// Sends a request and waits for the head of the answer. Redirects are answers too.
    pub fn request<'a>(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, String)],
        interrupt: &'a Interrupt,
    ) -> Result<Response<'a>, Failure> {
        let invalid = |cause: &dyn std::fmt::Display| Error::usage(format!("`{}`: {cause}", shown(url)));
        let origin = Origin::of(url).ok_or_else(|| invalid(&"no `https://` address"))?;
        let proxy = self.proxies.of(origin.is_https, &origin.host, origin.port);
        let agent = self.agent(origin.is_https, proxy)?;
        let mut request = Request::builder().method(method).uri(url).header("Accept-Encoding", "identity");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(()).map_err(|error| invalid(&error))?;
        let (sender, messages) = sync_channel(4);
        thread::Builder::new()
            .name("download".into())
            .spawn(move || answer(&agent, request, &sender))
            .map_err(|error| Error::failed(format!("cannot start a thread: {error}")))?;
        let waiting = Waiting {
            interrupt,
            patience: self.patience,
            host: origin.host,
            proxy: proxy.map(|proxy| proxy.rsplit('@').next().unwrap_or_default().to_owned()),
        };
        match waiting.next(&messages)? {
            Message::Head(status, headers) => Ok(Response { status, headers, messages, waiting }),
            _ => Err(Failure::Broken("the answer has no head".into())),
        }
    }

    fn agent(&self, is_https: bool, proxy: Option<&str>) -> Result<Agent, Failure> {
        let proxy = match proxy {
            None => None,
            Some(text) => {
                let address = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
                let cause = format!(
                    "the proxy `{}` is no valid address",
                    text.rsplit('@').next().unwrap_or_default()
                );
                let hint = "correct `HTTPS_PROXY`, such as `http://proxy.example.org:3128`";
                Some(Proxy::new(&address).map_err(|_| Error::usage(cause).hint(hint))?)
            }
        };
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(USER_AGENT)
            .proxy(proxy)
            .timeout_connect(Some(self.patience))
            .timeout_per_read(Some(self.patience));
        if is_https {
            config = config.tls_config(self.tls()?.clone());
        }
        Ok(config.build().new_agent())
    }

    fn tls(&self) -> Result<&TlsConfig, Error> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls);
        }
        let (file, folder) = &self.certificates;
        let found = match (file, folder) {
            (None, None) => rustls_native_certs::load_native_certs(),
            _ => rustls_native_certs::load_certs_from_paths(file.as_deref(), folder.as_deref()),
        };
        if found.certs.is_empty() {
            let cause = found.errors.first().map_or(String::new(), |error| format!(": {error}"));
            return Err(Error::failed(format!("this machine has no certificates of authorities{cause}")).hint(
                "install the package `ca-certificates`, or set `SSL_CERT_FILE` to a file with certificates in PEM format",
            ));
        }
        let certificates: Vec<Certificate> =
            found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(certificates)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        Ok(self.tls.get_or_init(|| tls))
    }
}

/// Sends the request, and the answer to the caller. Ends when the caller is gone.
fn answer(agent: &Agent, request: Request<()>, caller: &SyncSender<Message>) {
    let (head, body) = match agent.run(request) {
        Ok(response) => response.into_parts(),
        Err(error) => return drop(caller.send(Message::Failed(error))),
    };
    if caller.send(Message::Head(head.status.as_u16(), head.headers)).is_err() {
        return;
    }
    let mut reader = body.into_reader();
    loop {
        let mut chunk = vec![0; CHUNK];
        let message = match reader.read(&mut chunk) {
            Ok(0) => Message::End,
            Ok(count) => {
                chunk.truncate(count);
                Message::Chunk(chunk)
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => Message::Failed(error.into()),
        };
        let ends = !matches!(message, Message::Chunk(_));
        if caller.send(message).is_err() || ends {
            return;
        }
    }
}

impl Waiting<'_> {
    fn next(&self, messages: &Receiver<Message>) -> Result<Message, Failure> {
        let mut waited = Duration::ZERO;
        loop {
            self.interrupt.check()?;
            match messages.recv_timeout(TICK) {
                Ok(Message::Failed(error)) => return Err(self.failure(error)),
                Ok(message) => return Ok(message),
                // The thread gives up after the same time; it ends without a message only in a panic.
                Err(RecvTimeoutError::Timeout) if waited < self.patience * 2 => waited += TICK,
                Err(_) => return Err(Failure::Broken(self.silence())),
            }
        }
    }

    fn silence(&self) -> String {
        format!("{} sent nothing for {} s", self.server(), self.patience.as_secs())
    }

    fn server(&self) -> String {
        match &self.proxy {
            None => format!("`{}`", self.host),
            Some(proxy) => format!("`{}` (through the proxy `{proxy}`)", self.host),
        }
    }

    fn insecure(&self, cause: &rustls::Error) -> Failure {
        let message = format!("there is no secure connection to {}: {cause}", self.server());
        Failure::Final(Error::failed(message).hint(
            "if a proxy of your network signs connections, set `SSL_CERT_FILE` to its certificates in PEM format",
        ))
    }

    fn failure(&self, error: ureq::Error) -> Failure {
        let server = self.server();
        if let ureq::Error::Io(cause) = &error
            && let Some(cause) = tls_error(cause)
        {
            return self.insecure(cause);
        }
        let cause = match error {
            ureq::Error::HostNotFound => format!("the address of {server} cannot be found (DNS)"),
            // The standard library has no kind for it.
            ureq::Error::Io(cause) if cause.to_string().contains("lookup address") => {
                format!("the address of {server} cannot be found (DNS)")
            }
            ureq::Error::Timeout(_) => self.silence(),
            ureq::Error::ConnectProxyFailed(cause) => {
                format!("the proxy does not connect to {server}: {cause}")
            }
            ureq::Error::Rustls(cause) => return self.insecure(&cause),
            ureq::Error::Io(cause) => format!("the connection to {server} failed: {}", plain(&cause)),
            other => format!("the connection to {server} failed: {other}"),
        };
        Failure::Broken(cause)
    }
}

/// The cause of a connection that is not secure.
fn tls_error(cause: &std::io::Error) -> Option<&rustls::Error> {
    cause.get_ref()?.downcast_ref()
}

/// The cause without the number that the system gives it.
fn plain(cause: &std::io::Error) -> String {
    let text = cause.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

impl Response<'_> {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A header that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.trim().parse().ok()
    }

    /// What it redirects to.
    pub fn location(&self) -> Option<&str> {
        self.header("location").filter(|_| matches!(self.status, 301 | 302 | 303 | 307 | 308))
    }

    /// The next bytes of the body. `None` at its end.
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        match self.waiting.next(&self.messages)? {
            Message::Chunk(bytes) => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }

    /// The body as text, up to a limit.
    pub fn text(&mut self) -> Result<String, Failure> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk()? {
            bytes.extend(chunk);
            if bytes.len() > LARGEST_TEXT {
                return Err(
                    Error::failed(format!("the answer of {} is too long", self.waiting.server())).into()
                );
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
