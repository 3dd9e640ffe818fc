//! A collector of traces for tests: takes OTLP, over HTTP and over gRPC, on a port of its own and hands out traces by id.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message as _;

use crate::wait_until;

/// Largest request that is read.
const MOST_BYTES: usize = 64 << 20;

/// A span as it was received.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedSpan {
    /// What it is called.
    pub name: String,
    /// The program that sent it: `service.name`.
    pub service: String,
    /// The process that sent it: `service.instance.id`.
    pub instance: String,
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// 16 hexadecimal digits; empty for the first of a trace.
    pub parent_id: String,
    /// Traces and spans it is linked to.
    pub links: Vec<(String, String)>,
    /// Everything else that it says, as text.
    pub attributes: HashMap<String, String>,
}

/// The spans of one trace.
#[derive(Clone, Debug, Default)]
pub struct Trace(pub Vec<ReceivedSpan>);

impl Trace {
    /// The first span of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&ReceivedSpan> {
        self.0.iter().find(|span| span.name == name)
    }

    /// Names from a span up to the first of the trace, through the parents that were received.
    #[must_use]
    pub fn path(&self, name: &str) -> Vec<String> {
        let mut path = Vec::new();
        let mut next = self.find(name);
        while let Some(span) = next.filter(|_| path.len() <= self.0.len()) {
            path.push(span.name.clone());
            next = self.0.iter().find(|other| other.span_id == span.parent_id);
        }
        path
    }
}

/// See the module documentation. Listens as long as the test runs.
pub struct OtlpReceiver {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<ReceivedSpan>>>,
}

impl OtlpReceiver {
    /// Begins to listen.
    ///
    /// # Panics
    ///
    /// Panics if there is no free port.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let spans = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&spans);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                thread::spawn(move || serve(stream, &kept));
            }
        });
        Self { address, spans }
    }

    /// The section of a configuration that sends every trace here. `exporter` is `otlp` or `otlphttp`.
    #[must_use]
    pub fn configuration(&self, exporter: &str) -> String {
        let address = self.address;
        format!(
            "[tracing]\nenable_tracing = true\nexporter = \"{exporter}\"\ncollector_endpoint = \"{address}\"\n\
             sampler = \"always\"\n"
        )
    }

    /// What has come of a trace until now.
    ///
    /// # Panics
    ///
    /// Panics if a thread of the receiver has.
    #[must_use]
    pub fn trace(&self, id: &str) -> Trace {
        let spans = self.spans.lock().unwrap();
        Trace(spans.iter().filter(|span| span.trace_id == id).cloned().collect())
    }

    /// Everything that has come until now.
    ///
    /// # Panics
    ///
    /// Panics if a thread of the receiver has.
    #[must_use]
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        self.spans.lock().unwrap().clone()
    }

    /// The trace, once it has spans of all these names.
    ///
    /// # Panics
    ///
    /// Panics, with what has come, if it has not within `limit`.
    #[must_use]
    pub fn complete_trace(&self, id: &str, names: &[&str], limit: Duration) -> Trace {
        let missing = |trace: &Trace| names.iter().any(|name| trace.find(name).is_none());
        let waiting = std::panic::AssertUnwindSafe(|| {
            wait_until("the trace is complete", limit, || !missing(&self.trace(id)));
        });
        if std::panic::catch_unwind(waiting).is_err() {
            panic!("trace {id} lacks one of {names:?}: {:#?}", self.trace(id));
        }
        self.trace(id)
    }
}

/// Reads requests off a connection until it is closed. Its first bytes say which protocol it speaks.
fn serve(stream: TcpStream, spans: &Mutex<Vec<ReceivedSpan>>) {
    let mut first = [0; 4];
    match stream.peek(&mut first) {
        Ok(4) if &first == b"PRI " => serve_grpc(stream, spans),
        Ok(_) => serve_http(stream, spans),
        Err(_) => {}
    }
}

fn serve_grpc(stream: TcpStream, spans: &Mutex<Vec<ReceivedSpan>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    stream.set_nonblocking(true).unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        while let Some(Ok((request, respond))) = connection.accept().await {
            // In turn would do for the requests, but a connection that is not polled does not read.
            let answering = answer_grpc(request.into_body(), respond, spans);
            tokio::pin!(answering);
            tokio::select! {
                () = &mut answering => {}
                () = async { std::future::poll_fn(|context| connection.poll_closed(context)).await.unwrap_or(()) } => return,
            }
        }
    });
}

async fn answer_grpc(
    mut body: h2::RecvStream,
    mut respond: h2::server::SendResponse<bytes::Bytes>,
    spans: &Mutex<Vec<ReceivedSpan>>,
) {
    let mut message = Vec::new();
    while let Some(Ok(chunk)) = body.data().await {
        let _ = body.flow_control().release_capacity(chunk.len());
        message.extend_from_slice(&chunk);
    }
    // One byte says whether it is compressed, four how long it is.
    let Some(request) = message.get(5..).and_then(|bytes| ExportTraceServiceRequest::decode(bytes).ok())
    else {
        return;
    };
    spans.lock().unwrap().extend(read_spans(request));
    let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let Ok(mut answer) = respond.send_response(head, false) else { return };
    let _ = answer.send_data(bytes::Bytes::from_static(&[0; 5]), false);
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let _ = answer.send_trailers(trailers);
}

fn serve_http(stream: TcpStream, spans: &Mutex<Vec<ReceivedSpan>>) {
    let mut reader = BufReader::new(stream);
    while let Some(body) = read_body(&mut reader) {
        let status = match ExportTraceServiceRequest::decode(body.as_slice()) {
            Ok(request) => {
                spans.lock().unwrap().extend(read_spans(request));
                "200 OK"
            }
            Err(_) => "400 Bad Request",
        };
        let answer =
            format!("HTTP/1.1 {status}\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n");
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// The body of the next request; `None` at the end or if it is not one.
fn read_body(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut length = 0;
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    if !line.starts_with("POST /v1/traces ") {
        return None;
    }
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let header = line.trim_end();
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok().filter(|length| *length <= MOST_BYTES)?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

fn read_spans(request: ExportTraceServiceRequest) -> Vec<ReceivedSpan> {
    let mut received = Vec::new();
    for resource in request.resource_spans {
        let about = attributes(resource.resource.map(|resource| resource.attributes).unwrap_or_default());
        let said = |key: &str| about.get(key).cloned().unwrap_or_default();
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            received.push(ReceivedSpan {
                name: span.name,
                service: said("service.name"),
                instance: said("service.instance.id"),
                trace_id: digits(&span.trace_id),
                span_id: digits(&span.span_id),
                parent_id: digits(&span.parent_span_id),
                links: span
                    .links
                    .iter()
                    .map(|link| (digits(&link.trace_id), digits(&link.span_id)))
                    .collect(),
                attributes: attributes(span.attributes),
            });
        }
    }
    received
}

fn attributes(pairs: Vec<KeyValue>) -> HashMap<String, String> {
    pairs.into_iter().map(|pair| (pair.key, text(pair.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
