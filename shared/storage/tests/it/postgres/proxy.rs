//! Stands between a store and the server, and can cut every connection.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Schema, server};

/// See the module documentation.
pub struct Proxy {
    port: u16,
    /// Every change cuts what is connected; while it is `false` nothing is connected.
    pub open: watch::Sender<bool>,
}

impl Proxy {
    /// One that lets everything through.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, is_open) = watch::channel(true);
        tokio::spawn(accept(listener, is_open));
        Self { port, open }
    }

    /// The URL of a schema, by way of here.
    pub fn url(&self, schema: &Schema) -> String {
        schema.url("").replace(&target(), &format!("127.0.0.1:{}", self.port))
    }
}

async fn accept(listener: TcpListener, is_open: watch::Receiver<bool>) {
    while let Ok((near, _address)) = listener.accept().await {
        let mut is_open = is_open.clone();
        // Seen, so that only what changes from here on cuts.
        if *is_open.borrow_and_update() {
            tokio::spawn(forward(near, is_open));
        }
    }
}

async fn forward(mut near: TcpStream, mut is_open: watch::Receiver<bool>) {
    let mut far = TcpStream::connect(target()).await.unwrap();
    tokio::select! {
        _ended = copy_bidirectional(&mut near, &mut far) => {}
        _cut = is_open.changed() => {}
    }
}

/// Host and port of the server.
fn target() -> String {
    let url = server();
    let rest = url.split_once("://").unwrap().1;
    let place = rest.split(['/', '?']).next().unwrap();
    place.rsplit('@').next().unwrap().to_owned()
}
