//! A local server that answers as the Hugging Face hub, its storage, and plain servers do, and makes their mistakes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use defrost::digest::{GitBlob, Sha256};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in lowercase.
    pub headers: BTreeMap<String, String>,
}

impl Request {
    fn first_byte(&self) -> usize {
        let range = self.headers.get("range").and_then(|range| range.strip_prefix("bytes="));
        range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap())
    }
}

/// An answer. `Content-Length` is added unless it is there.
#[derive(Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// The connection ends after so many bytes of the body.
    pub cut: Option<usize>,
    /// The server sends nothing for so long before the rest of the body.
    pub pause: Duration,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

pub struct Server {
    pub address: String,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn new(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (log, handler) = (Arc::new(Mutex::new(Vec::new())), Arc::new(handler));
        let requests = Arc::clone(&log);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, requests) = (Arc::clone(&handler), Arc::clone(&requests));
                std::thread::spawn(move || serve(stream, &*handler, &requests));
            }
        });
        Self { address, log }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    pub fn count(&self, method: &str) -> usize {
        self.requests().iter().filter(|request| request.method == method).count()
    }
}

fn serve(stream: TcpStream, handler: &Handler, log: &Mutex<Vec<Request>>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let request = Request { method, path, headers };
    log.lock().unwrap().push(request.clone());
    let reply = handler(&request);
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !reply.headers.iter().any(|(name, _)| *name == "Content-Length") {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    let mut stream = stream;
    stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    if request.method != "HEAD" {
        let end = reply.cut.unwrap_or(reply.body.len()).min(reply.body.len());
        let middle = if reply.pause.is_zero() { end } else { end / 2 };
        stream.write_all(&reply.body[..middle]).ok()?;
        stream.flush().ok()?;
        std::thread::sleep(reply.pause);
        stream.write_all(&reply.body[middle..end]).ok()?;
    }
    stream.shutdown(Shutdown::Write).ok()
}

/// The bytes that a request asks for: all, or the end of them.
pub fn bytes(request: &Request, content: &[u8]) -> Reply {
    match request.first_byte() {
        0 => Reply { status: 200, body: content.to_vec(), ..Reply::default() },
        first if first >= content.len() => Reply::status(416),
        first => Reply { status: 206, body: content[first..].to_vec(), ..Reply::default() }
            .header("Content-Range", format!("bytes {first}-{}/{}", content.len() - 1, content.len())),
    }
}

pub fn sha256(content: &[u8]) -> String {
    let mut hasher = Sha256::default();
    hasher.update(content);
    hasher.finish()
}

pub fn git_blob(content: &[u8]) -> String {
    let mut blob = GitBlob::new(content.len() as u64);
    blob.update(content);
    blob.finish()
}

/// A repository `me/net` at [`COMMIT`], and the storage of its large files.
pub struct FakeHub {
    pub hub: Server,
    pub storage: Server,
}

/// Files by name. Those of 1000 bytes or more are in the storage.
pub type Files = Vec<(&'static str, Vec<u8>)>;

impl FakeHub {
    pub fn new(files: Files) -> Self {
        Self::with_storage(files, bytes)
    }

    /// The storage answers with `deliver`.
    pub fn with_storage(
        files: Files,
        deliver: impl Fn(&Request, &[u8]) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let large: BTreeMap<String, Vec<u8>> =
            files.iter().map(|(_, content)| (sha256(content), content.clone())).collect();
        let storage = Server::new(move |request| {
            let name = request.path.split('?').next().unwrap().trim_start_matches("/signed/").to_owned();
            match large.get(&name) {
                // Signed addresses of storage refuse a second authorization.
                Some(_) if request.headers.contains_key("authorization") => Reply::status(400),
                Some(content) => deliver(request, content),
                None => Reply::status(403),
            }
        });
        let address = storage.address.clone();
        let hub = Server::new(move |request| hub(request, &files, &address));
        Self { hub, storage }
    }
}

fn hub(request: &Request, files: &Files, storage: &str) -> Reply {
    let commit = |reply: Reply| reply.header("X-Repo-Commit", COMMIT);
    if let Some(path) = request.path.strip_prefix("/me/old/") {
        return Reply::status(307).header("Location", format!("/me/net/{path}"));
    }
    if request.path.starts_with("/me/gated/") {
        return Reply::status(403).header("X-Error-Code", "GatedRepo");
    }
    if let Some(revision) = request.path.strip_prefix("/api/models/me/net/revision/") {
        assert_eq!(revision, "main");
        let files: Vec<_> = files.iter().map(|(name, _)| serde_json::json!({ "rfilename": name })).collect();
        let body = serde_json::json!({ "sha": COMMIT, "siblings": files }).to_string().into_bytes();
        return Reply { status: 200, body, ..Reply::default() };
    }
    let Some(path) = request.path.strip_prefix("/me/net/resolve/") else {
        return Reply::status(401).header("X-Error-Code", "RepoNotFound");
    };
    let (revision, name) = path.split_once('/').unwrap();
    if ![COMMIT, "main", "v1"].contains(&revision) {
        return Reply::status(404).header("X-Error-Code", "RevisionNotFound");
    }
    let Some((_, content)) = files.iter().find(|(file, _)| *file == name) else {
        return commit(Reply::status(404)).header("X-Error-Code", "EntryNotFound");
    };
    if content.len() < 1000 {
        return commit(bytes(request, content)).header("ETag", format!("W/\"{}\"", git_blob(content)));
    }
    let digest = sha256(content);
    commit(Reply::status(302))
        .header("Location", format!("{storage}/signed/{digest}?X-Amz-Signature=secret"))
        .header("X-Linked-Etag", format!("\"{digest}\""))
        .header("X-Linked-Size", content.len().to_string())
        .header("ETag", "\"of-the-redirect\"")
}
