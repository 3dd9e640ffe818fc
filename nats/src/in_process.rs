//! The bus of a deployment in one process.
//!
//! With a folder, durable buckets and object buckets survive restarts (`buckets/*.journal`, `objects/<bucket>/*.object`);
//! one process at a time may have the folder. Streams live in memory, each within its own size and
//! [`InProcessOptions::stream_bytes`]: the data store is the record, and whoever appends waits for the store's receipt.
//!
//! Runs on any tokio runtime, also on several at once (actix arbiters); timeouts run in the caller's. There is no
//! background task and nothing polls. Revisions of buckets that do not survive begin higher after every start, so a
//! fencing token of an earlier run is always older.

mod bucket;
mod consumer;
mod core;
mod files;
mod journal;
mod objects;
mod stream;

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::time::{Instant, timeout, timeout_at};
use ulex_domain::LogEpoch;

use self::bucket::{Bucket, Opened};
use self::core::Core;
use self::files::{replace_file, sweep};
use self::journal::Journal;
use self::objects::Objects;
use self::stream::{Look, Seat, Stream};
use crate::BusError;
use crate::queue::Kept;
use crate::subject::{covers, overlap};
use crate::transport::{
    Appended, ApplyMode, Backlog, BucketSpec, CheckpointSource, ConsumerSpec, Definition, DefinitionChange,
    Message, Name, RawBucket, RawDelivery, RawObjects, RawPuller, RawReader, RawSubscription, ReadFrom,
    StreamMessage, StreamSpec, StreamState, Transport,
};

/// How much an [`InProcess`] bus may take.
#[derive(Clone, Debug)]
pub struct InProcessOptions {
    /// Folder for what survives; `None` keeps nothing.
    pub folder: Option<PathBuf>,
    /// Most bytes of one stream, whatever its definition says.
    pub stream_bytes: u64,
}

impl Default for InProcessOptions {
    fn default() -> Self {
        Self { folder: None, stream_bytes: 64 << 20 }
    }
}

/// Its subjects with each stream, for routing.
type Streams = Vec<(Vec<Name>, Arc<Stream>)>;

/// The bus of one process. Share it as an `Arc<dyn Transport>`.
pub struct InProcess {
    options: InProcessOptions,
    core: Arc<Core>,
    streams: RwLock<Streams>,
    buckets: Mutex<HashMap<String, Arc<Bucket>>>,
    objects: Mutex<HashMap<String, Objects>>,
    /// Where revisions of buckets begin that do not survive.
    first_revision: u64,
    /// Held for as long as the folder is in use.
    _lock: Option<File>,
}

impl InProcess {
    /// Opens the bus, with a folder for what survives restarts.
    ///
    /// # Errors
    ///
    /// [`BusError::Refused`] if another process has the folder, [`BusError::Transport`] if it cannot be used.
    pub fn open(folder: Option<PathBuf>) -> Result<Self, BusError> {
        Self::open_with(InProcessOptions { folder, ..InProcessOptions::default() })
    }

    /// [`InProcess::open`] with every option.
    ///
    /// # Errors
    ///
    /// As [`InProcess::open`].
    pub fn open_with(options: InProcessOptions) -> Result<Self, BusError> {
        let (lock, first_revision) = match &options.folder {
            None => (None, 0),
            Some(folder) => {
                let failed = |error| BusError::transport(folder.display().to_string(), error);
                std::fs::create_dir_all(folder.join("buckets")).map_err(failed)?;
                std::fs::create_dir_all(folder.join("objects")).map_err(failed)?;
                let lock = lock(folder)?;
                sweep(folder).and_then(|()| sweep(&folder.join("buckets"))).map_err(failed)?;
                (Some(lock), count_start(folder).map_err(failed)? << 32)
            }
        };
        Ok(Self {
            options,
            core: Arc::default(),
            streams: RwLock::default(),
            buckets: Mutex::default(),
            objects: Mutex::default(),
            first_revision,
            _lock: lock,
        })
    }

    fn stream(&self, name: &str) -> Result<Arc<Stream>, BusError> {
        let streams = self.streams.read();
        let found = streams.iter().find(|(_, stream)| stream.name == name);
        let found = found.map(|(_, stream)| Arc::clone(stream));
        found.ok_or_else(|| BusError::NoStream { subject: name.to_owned() })
    }

    fn capturing(&self, subject: &str) -> Result<Arc<Stream>, BusError> {
        let streams = self.streams.read();
        let captures = |filters: &[Name]| filters.iter().any(|filter| covers(filter, subject));
        let found = streams.iter().find(|(filters, _)| captures(filters));
        let found = found.map(|(_, stream)| Arc::clone(stream));
        found.ok_or_else(|| BusError::NoStream { subject: subject.to_owned() })
    }

    async fn redefine_stream(&self, spec: &StreamSpec) -> Result<(), BusError> {
        self.ensure_stream(spec).await?;
        let mut streams = self.streams.write();
        if let Some((filters, stream)) = streams.iter_mut().find(|(_, stream)| stream.name == spec.name) {
            *filters = spec.subjects.to_vec();
            stream.redefine(spec.clone());
        }
        Ok(())
    }

    fn open_bucket(&self, spec: &BucketSpec) -> Result<Bucket, BusError> {
        let Some(folder) = self.options.folder.as_ref().filter(|_| spec.durable) else {
            return Ok(Bucket::new(spec.clone(), self.first_revision, None));
        };
        let path = folder.join("buckets").join(format!("{}.journal", spec.name));
        let journal =
            Journal::open(&path).map_err(|error| BusError::transport(path.display().to_string(), error));
        Ok(Bucket::new(spec.clone(), 0, Some(journal?)))
    }
}

/// Takes the folder for this process.
fn lock(folder: &Path) -> Result<File, BusError> {
    let path = folder.join("lock");
    let failed = |error| BusError::transport(path.display().to_string(), error);
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BusError::Refused {
            name: folder.display().to_string(),
            reason: "another process is using it".to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// How often the folder has been opened, this time included.
fn count_start(folder: &Path) -> io::Result<u64> {
    let path = folder.join("starts");
    let before = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse::<u64>().map_err(io::Error::other)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    replace_file(&path, &[(before + 1).to_string().as_bytes()])?;
    Ok(before + 1)
}

/// Refuses what cannot be a bucket anywhere.
fn check_bucket_name(name: &str) -> Result<(), BusError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.is_empty() || name.len() > 200 || !name.bytes().all(fits) {
        let reason = "a bucket is named by letters, digits, - and _".to_owned();
        return Err(BusError::Refused { name: name.to_owned(), reason });
    }
    Ok(())
}

#[async_trait]
impl Transport for InProcess {
    async fn publish(&self, message: Message) -> Result<(), BusError> {
        self.core.publish(message);
        Ok(())
    }

    async fn request(&self, message: Message, within: Duration) -> Result<Message, BusError> {
        let (subject, inbox) = (message.subject.clone(), self.inbox());
        let mut answers = self.core.subscribe(&inbox, None).ok_or(BusError::Closed)?;
        if self.core.publish(Message { reply: Some(inbox), ..message }) == 0 {
            return Err(BusError::NoResponders { subject });
        }
        match timeout(within, answers.next()).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(BusError::Closed),
            Err(_late) => Err(BusError::Timeout { subject }),
        }
    }

    async fn subscribe(
        &self,
        filter: &str,
        queue: Option<&str>,
    ) -> Result<Box<dyn RawSubscription>, BusError> {
        Ok(Box::new(self.core.subscribe(filter, queue).ok_or(BusError::Closed)?))
    }

    fn max_payload(&self) -> usize {
        // Nothing is copied or sent; a message has to fit into a stream.
        usize::try_from(self.options.stream_bytes / 4).unwrap_or(usize::MAX)
    }

    fn inbox(&self) -> String {
        format!("_INBOX.{}", uuid::Uuid::new_v4().simple())
    }

    async fn ensure_stream(&self, spec: &StreamSpec) -> Result<(), BusError> {
        let mut streams = self.streams.write();
        let others = streams.iter().filter(|(_, stream)| stream.name != spec.name);
        let taken = others.flat_map(|(filters, _)| filters);
        for other in taken {
            if spec.subjects.iter().any(|subject| overlap(subject, other)) {
                let reason = format!("{other} belongs to another stream");
                return Err(BusError::Refused { name: spec.name.clone().into_owned(), reason });
            }
        }
        if streams.iter().all(|(_, stream)| stream.name != spec.name) {
            let stream = Arc::new(Stream::new(spec.clone(), self.options.stream_bytes));
            streams.push((spec.subjects.to_vec(), stream));
        }
        Ok(())
    }

    async fn append(&self, message: Message) -> Result<Appended, BusError> {
        let stream = self.capturing(&message.subject)?;
        let message = Message { reply: None, ..message };
        let heard = self.core.is_heard(&message.subject).then(|| message.clone());
        let appended = stream.append(message, Instant::now())?;
        if let Some(message) = heard {
            self.core.publish(message);
        }
        Ok(appended)
    }

    async fn stream_state(&self, stream: &str) -> Result<StreamState, BusError> {
        Ok(self.stream(stream)?.state(Instant::now()))
    }

    async fn remove(&self, stream: &str, sequence: u64) -> Result<bool, BusError> {
        Ok(self.stream(stream)?.remove(sequence, Instant::now()))
    }

    async fn purge(&self, stream: &str, filter: &str) -> Result<u64, BusError> {
        Ok(self.stream(stream)?.purge(filter, Instant::now()))
    }

    async fn reader(
        &self,
        stream: &str,
        filter: &str,
        from: ReadFrom,
    ) -> Result<Box<dyn RawReader>, BusError> {
        let stream = self.stream(stream)?;
        let position = stream.position(from);
        Ok(Box::new(Reading { stream, filter: filter.to_owned(), position }))
    }

    async fn ensure_consumer(&self, spec: &ConsumerSpec) -> Result<(), BusError> {
        self.stream(&spec.stream)?.ensure_consumer(spec).map(drop)
    }

    async fn puller(
        &self,
        spec: &ConsumerSpec,
        checkpoints: Option<Arc<dyn CheckpointSource>>,
    ) -> Result<Box<dyn RawPuller>, BusError> {
        let stream = self.stream(&spec.stream)?;
        if let Some(source) = checkpoints {
            let known = source.checkpoint(&stream.name_of_log).await?;
            stream.meet(&known);
        }
        let seat = stream.seat(spec)?;
        Ok(Box::new(Pulling { seat: Arc::new(seat) }))
    }

    async fn backlog(&self, spec: &ConsumerSpec) -> Result<Backlog, BusError> {
        Ok(self.stream(&spec.stream)?.backlog(&spec.name))
    }

    async fn bucket(&self, spec: &BucketSpec) -> Result<Box<dyn RawBucket>, BusError> {
        check_bucket_name(&spec.name)?;
        let mut buckets = self.buckets.lock();
        if let Some(bucket) = buckets.get(spec.name.as_ref()) {
            return Ok(Box::new(Opened(Arc::clone(bucket))));
        }
        let bucket = Arc::new(self.open_bucket(spec)?);
        buckets.insert(spec.name.clone().into_owned(), Arc::clone(&bucket));
        Ok(Box::new(Opened(bucket)))
    }

    async fn objects(&self, name: &str) -> Result<Box<dyn RawObjects>, BusError> {
        check_bucket_name(name)?;
        let mut known = self.objects.lock();
        if let Some(objects) = known.get(name) {
            return Ok(Box::new(objects.clone()));
        }
        let objects = match &self.options.folder {
            None => Objects::memory(),
            Some(folder) => Objects::folder(folder.join("objects").join(name))
                .map_err(|error| BusError::transport(name, error))?,
        };
        known.insert(name.to_owned(), objects.clone());
        Ok(Box::new(objects))
    }

    async fn apply(
        &self,
        definition: &Definition,
        mode: ApplyMode,
    ) -> Result<Vec<DefinitionChange>, BusError> {
        // Definitions of a process last as long as it does; what it was started with is what it wants.
        if mode != ApplyMode::DryRun {
            match definition {
                Definition::Stream(spec) => self.redefine_stream(spec).await?,
                Definition::Consumer(spec) => self.ensure_consumer(spec).await?,
                Definition::Bucket(spec) => {
                    drop(self.bucket(spec).await?);
                    if let Some(bucket) = self.buckets.lock().get(spec.name.as_ref()) {
                        bucket.redefine(spec.clone());
                    }
                }
                Definition::Objects(name) => drop(self.objects(name).await?),
                Definition::Cursors => {}
            }
        }
        Ok(Vec::new())
    }

    async fn close(&self) {
        self.core.close();
        self.streams.read().iter().for_each(|(_, stream)| stream.close());
        self.buckets.lock().values().for_each(|bucket| bucket.close());
    }
}

/// A reader.
struct Reading {
    stream: Arc<Stream>,
    filter: String,
    position: u64,
}

#[async_trait]
impl RawReader for Reading {
    async fn read(&mut self, max: usize, wait: Duration) -> Result<Vec<StreamMessage>, BusError> {
        self.stream.read_within(&self.filter, &mut self.position, max, wait).await
    }
}

/// A puller; dropping it lets another take over.
struct Pulling {
    seat: Arc<Seat>,
}

#[async_trait]
impl RawPuller for Pulling {
    async fn pull(&mut self, max: usize, wait: Duration) -> Result<Vec<Box<dyn RawDelivery>>, BusError> {
        let deadline = Instant::now() + wait;
        loop {
            let mut notified = std::pin::pin!(self.seat.notify.notified());
            notified.as_mut().enable();
            let now = Instant::now();
            let Look { taken, next } = self.seat.look(max, now)?;
            if !taken.is_empty() || max == 0 || now >= deadline {
                let deliver = |(kept, attempt)| {
                    Box::new(Delivered { seat: Arc::clone(&self.seat), kept, attempt })
                        as Box<dyn RawDelivery>
                };
                return Ok(taken.into_iter().map(deliver).collect());
            }
            let until = next.map_or(deadline, |next| next.min(deadline));
            let _ = timeout_at(until, notified).await;
        }
    }
}

impl Drop for Pulling {
    fn drop(&mut self) {
        self.seat.leave();
    }
}

/// A delivery.
struct Delivered {
    seat: Arc<Seat>,
    kept: Arc<Kept>,
    attempt: u64,
}

#[async_trait]
impl RawDelivery for Delivered {
    fn message(&self) -> &Message {
        &self.kept.message
    }

    fn sequence(&self) -> u64 {
        self.kept.sequence
    }

    fn log(&self) -> &LogEpoch {
        self.seat.stream.log()
    }

    fn is_ambiguous(&self) -> bool {
        false
    }

    fn attempt(&self) -> u64 {
        self.attempt
    }

    fn lost_holders(&self) -> u64 {
        0
    }

    fn appended_at(&self) -> SystemTime {
        self.kept.appended_at
    }

    async fn ack(&self) -> Result<(), BusError> {
        self.seat.settle(&self.kept, Instant::now());
        Ok(())
    }

    async fn nak(&self, delay: Duration) -> Result<(), BusError> {
        self.seat.nak(&self.kept, self.attempt, delay, Instant::now());
        Ok(())
    }

    async fn in_progress(&self) -> Result<(), BusError> {
        self.seat.extend(&self.kept, self.attempt, Instant::now());
        Ok(())
    }

    async fn term(&self) -> Result<(), BusError> {
        self.seat.settle(&self.kept, Instant::now());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
