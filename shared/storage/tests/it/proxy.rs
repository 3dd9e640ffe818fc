//! Stands between a store and its server, and can cut every connection, or lead to another server.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// See the module documentation.
pub struct Proxy {
    port: u16,
    /// Every change cuts what is connected; while it is `false` nothing is connected.
    pub open: watch::Sender<bool>,
    target: Arc<Mutex<String>>,
}

impl Proxy {
    /// One that lets everything through to the server of a URL.
    pub async fn start(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, is_open) = watch::channel(true);
        let target = Arc::new(Mutex::new(place(url).to_owned()));
        tokio::spawn(accept(listener, is_open, Arc::clone(&target)));
        Self { port, open, target }
    }

    /// A URL, by way of here.
    pub fn url(&self, url: &str) -> String {
        url.replace(place(url), &format!("127.0.0.1:{}", self.port))
    }

    /// Cuts what is connected, and leads to the server of another URL from now on.
    #[cfg(feature = "redis")]
    pub fn lead_to(&self, url: &str) {
        place(url).clone_into(&mut self.target.lock());
        self.open.send_replace(true);
    }
}

async fn accept(listener: TcpListener, is_open: watch::Receiver<bool>, target: Arc<Mutex<String>>) {
    while let Ok((near, _address)) = listener.accept().await {
        let mut is_open = is_open.clone();
        let target = target.lock().clone();
        // Seen, so that only what changes from here on cuts.
        if *is_open.borrow_and_update() {
            tokio::spawn(forward(near, target, is_open));
        }
    }
}

async fn forward(mut near: TcpStream, target: String, mut is_open: watch::Receiver<bool>) {
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    tokio::select! {
        _ended = copy_bidirectional(&mut near, &mut far) => {}
        _cut = is_open.changed() => {}
    }
}

/// Host and port in a URL.
fn place(url: &str) -> &str {
    let rest = url.split_once("://").unwrap().1;
    let place = rest.split(['/', '?']).next().unwrap();
    place.rsplit('@').next().unwrap()
}
