//! A small blocking HTTP/1.1 client for our own servers: one kept connection, plain HTTP, bounded answers, a deadline
//! on every wait.
//!
//! Written out instead of taken from a library because it is two hundred lines, sends exactly the bytes it is told to
//! (tests need malformed requests), never retries a request that may have arrived, and brings no TLS along.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use thiserror::Error;

/// How long to wait for an answer unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Largest body that is accepted.
const MAX_BODY: u64 = 256 << 20;

/// Largest line of a head.
const MAX_LINE: u64 = 64 << 10;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The address is no plain HTTP address.
    #[error("{url:?} is no address like http://127.0.0.1:8088{hint}")]
    Address {
        /// What was given.
        url: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// The server cannot be reached or went away; the request may or may not have had its effect.
    #[error("{address}: {source}")]
    Connection {
        /// Whom we talked to.
        address: String,
        /// What went wrong.
        source: io::Error,
    },
    /// What came back is not HTTP.
    #[error("{address} does not speak HTTP: {reason}")]
    Protocol {
        /// Whom we talked to.
        address: String,
        /// What was not understood.
        reason: String,
    },
}

impl HttpError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Connection { .. })
    }
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header fields in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body, without transfer coding.
    pub body: Vec<u8>,
}

impl Answer {
    /// First value of a header field; `name` in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// A [`serde_json::Error`] if it is none.
    pub fn json(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}

/// Talks to one server over one connection, opened when needed.
#[derive(Debug)]
pub struct HttpClient {
    address: String,
    timeout: Duration,
    connection: Option<BufReader<TcpStream>>,
}

impl HttpClient {
    /// Will talk to `base_url`, such as `http://127.0.0.1:8088`.
    ///
    /// # Errors
    ///
    /// [`HttpError::Address`] if that is no plain HTTP address without a path.
    pub fn new(base_url: &str) -> Result<Self, HttpError> {
        let refused = |hint| HttpError::Address { url: base_url.to_owned(), hint };
        if base_url.starts_with("https://") {
            return Err(refused("; https is not supported here, use the server's plain address"));
        }
        let rest = base_url.strip_prefix("http://").ok_or_else(|| refused(""))?;
        let host = rest.strip_suffix('/').unwrap_or(rest);
        if host.is_empty() || host.contains(['/', '?', '#', '@', ' ']) {
            return Err(refused(""));
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if has_port { host.to_owned() } else { format!("{host}:80") };
        Ok(Self { address, timeout: TIMEOUT, connection: None })
    }

    /// Waits at most this long for an answer.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends a request and waits for the answer. Redirections are answers.
    ///
    /// A kept connection that the server has closed meanwhile is replaced once, and only for methods without an
    /// effect; after any other failure the caller has to know whether sending again is right.
    ///
    /// # Errors
    ///
    /// [`HttpError`] if there is no answer.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, HttpError> {
        let request = self.encode(method, path, headers, body);
        let kept = self.connection.is_some();
        match self.exchange(&request, method == "HEAD") {
            Err(HttpError::Connection { .. }) if kept && matches!(method, "GET" | "HEAD" | "OPTIONS") => {
                self.exchange(&request, method == "HEAD")
            }
            done => done,
        }
    }

    /// [`HttpClient::send`] of `GET path`.
    ///
    /// # Errors
    ///
    /// [`HttpError`] if there is no answer.
    pub fn get(&mut self, path: &str) -> Result<Answer, HttpError> {
        self.send("GET", path, &[], None)
    }

    /// [`HttpClient::send`] with a JSON body.
    ///
    /// # Errors
    ///
    /// [`HttpError`] if there is no answer.
    pub fn send_json(
        &mut self,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<Answer, HttpError> {
        self.send(method, path, &[("Content-Type", "application/json")], Some(body.to_string().as_bytes()))
    }

    fn encode(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Vec<u8> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut request = head.into_bytes();
        request.extend_from_slice(body.unwrap_or_default());
        request
    }

    /// One round trip; the connection is kept only if it ended well and the server wants to keep it.
    fn exchange(&mut self, request: &[u8], without_body: bool) -> Result<Answer, HttpError> {
        let failed = |source: io::Error| {
            let address = self.address.clone();
            if source.kind() == io::ErrorKind::InvalidData {
                return HttpError::Protocol { address, reason: source.to_string() };
            }
            HttpError::Connection { address, source }
        };
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.address, self.timeout).map_err(failed)?,
        };
        // A server may refuse before it has read everything; then its answer counts, not the broken pipe.
        let written = connection.get_mut().write_all(request);
        let answer = match (read_answer(&mut connection, without_body), written) {
            (Ok(answer), _) => answer,
            (Err(_), Err(error)) | (Err(error), Ok(())) => return Err(failed(error)),
        };
        if answer.header("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close")) {
            self.connection = Some(connection);
        }
        Ok(answer)
    }
}

fn connect(address: &str, timeout: Duration) -> io::Result<BufReader<TcpStream>> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&candidate, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                return Ok(BufReader::new(stream));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn read_answer(source: &mut impl BufRead, without_body: bool) -> io::Result<Answer> {
    let status = read_line(source)?;
    let code = status
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|code| code.parse().ok());
    let status = code.ok_or_else(|| strange(&status))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(source)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| strange(&line))?;
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    if status == 100 {
        return read_answer(source, without_body);
    }
    if !without_body && !matches!(status, 204 | 304) {
        answer.body = read_body(source, &mut answer.headers)?;
    }
    Ok(answer)
}

fn read_body(source: &mut impl BufRead, headers: &mut Vec<(String, String)>) -> io::Result<Vec<u8>> {
    let field = |name: &str| headers.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone());
    if field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return read_chunks(source);
    }
    match field("content-length") {
        Some(text) => {
            read_exactly(source, text.parse().ok().filter(|&n| n <= MAX_BODY).ok_or_else(|| strange(&text))?)
        }
        None => {
            // Without a length the body ends with the connection.
            headers.push(("connection".to_owned(), "close".to_owned()));
            let mut body = Vec::new();
            source.take(MAX_BODY).read_to_end(&mut body)?;
            Ok(body)
        }
    }
}

fn read_chunks(source: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(source)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_error| strange(&line))?;
        if size > MAX_BODY - body.len() as u64 {
            return Err(strange("a body beyond every measure"));
        }
        if size == 0 {
            while !read_line(source)?.is_empty() {}
            return Ok(body);
        }
        body.extend(read_exactly(source, size)?);
        read_line(source)?;
    }
}

fn read_exactly(source: &mut impl BufRead, n: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(n).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < n {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer ends early"));
    }
    Ok(bytes)
}

fn read_line(source: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    source.take(MAX_LINE).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed"));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(|error| strange(&error.to_string()))
}

fn strange(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    fn answer(bytes: &[u8]) -> io::Result<Answer> {
        read_answer(&mut &bytes[..], false)
    }

    /// Answers each connection's requests with the given bytes, then closes it. Returns what was asked.
    fn serve(connections: Vec<Vec<&'static str>>) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for answers in connections {
                let mut stream = BufReader::new(listener.accept().unwrap().0);
                asked.extend(answers.into_iter().map(|answer| respond(&mut stream, answer)));
            }
            asked
        });
        (address, server)
    }

    /// Reads the head of a request, answers it and returns its first line.
    fn respond(stream: &mut BufReader<TcpStream>, answer: &str) -> String {
        let first = read_line(stream).unwrap();
        while !read_line(stream).unwrap().is_empty() {}
        stream.get_mut().write_all(answer.as_bytes()).unwrap();
        first
    }

    #[test]
    fn bodies_come_by_length_in_chunks_or_until_the_end() {
        let expected = |text: &str| assert_eq!(answer(text.as_bytes()).unwrap().text(), "hello");
        expected("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        expected(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\nTrailer: 1\r\n\r\n",
        );
        expected("HTTP/1.0 200\r\n\r\nhello");
        expected("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(answer(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().body, b"");
        assert!(answer(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello").is_err());
        assert!(answer(b"SSH-2.0\r\n\r\n").is_err());
    }

    #[test]
    fn a_connection_is_kept_and_replaced_when_the_server_closed_it() {
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
        let (address, server) = serve(vec![vec![ok, ok], vec![ok]]);
        let mut client = HttpClient::new(&address).unwrap();
        for path in ["/1", "/2", "/3"] {
            assert_eq!(client.get(path).unwrap().text(), "x");
        }
        assert_eq!(server.join().unwrap(), ["GET /1 HTTP/1.1", "GET /2 HTTP/1.1", "GET /3 HTTP/1.1"]);
    }

    #[test]
    fn a_write_is_never_sent_twice() {
        let (address, server) = serve(vec![vec!["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]]);
        let mut client = HttpClient::new(&address).unwrap();
        client.get("/").unwrap();
        server.join().unwrap();
        let error = client.send("POST", "/", &[], Some(b"")).unwrap_err();
        assert!(error.is_transient(), "{error}");
    }

    #[test]
    fn addresses_are_plain_http() {
        for url in ["https://h", "h:1", "http://", "http://h/api", "http://a@b"] {
            assert!(matches!(HttpClient::new(url), Err(HttpError::Address { .. })), "{url}");
        }
        assert_eq!(HttpClient::new("http://h/").unwrap().address, "h:80");
        assert_eq!(HttpClient::new("http://[::1]:8088").unwrap().address, "[::1]:8088");
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_client_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = answer(&bytes);
            let mut head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            head.extend(bytes);
            let _ = answer(&head);
        }
    }
}
