//! An object bucket: in memory, or one file an object.
//!
//! A file is the eight bytes of [`MAGIC`], the 32 bytes of the content's SHA-256, the content. It is written beside
//! itself, synchronised, and put in its place, so an object is there as a whole or not at all. The digest is checked on
//! every read. File work runs where blocking is allowed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::files::{replace_file, sweep, sync_folder};
use crate::transport::{ObjectInfo, RawObjects};
use crate::{BusError, Token, TokenError};

const MAGIC: &[u8; 8] = b"ULEXOB01";
const HEAD: usize = 40;

/// Where the objects are.
#[derive(Clone)]
pub(super) enum Objects {
    /// In memory.
    Memory(Arc<Mutex<BTreeMap<String, (ObjectInfo, Bytes)>>>),
    /// In this folder.
    Folder(Arc<PathBuf>),
}

impl Objects {
    pub(super) fn memory() -> Self {
        Self::Memory(Arc::default())
    }

    pub(super) fn folder(folder: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        sync_folder(&folder)?;
        sweep(&folder)?;
        Ok(Self::Folder(Arc::new(folder)))
    }

    fn store(&self, name: &str, bytes: Bytes) -> io::Result<ObjectInfo> {
        let digest = Sha256::digest(&bytes);
        let info =
            ObjectInfo { name: name.to_owned(), size: bytes.len() as u64, digest: hexadecimal(&digest) };
        match self {
            Self::Memory(objects) => {
                objects.lock().insert(name.to_owned(), (info.clone(), bytes));
            }
            Self::Folder(folder) => replace_file(&file_of(folder, name), &[MAGIC, &digest, &bytes])?,
        }
        Ok(info)
    }

    fn load(&self, name: &str) -> Result<Option<Bytes>, BusError> {
        let folder = match self {
            Self::Memory(objects) => return Ok(objects.lock().get(name).map(|(_, bytes)| bytes.clone())),
            Self::Folder(folder) => folder,
        };
        let bytes = match std::fs::read(file_of(folder, name)) {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BusError::transport(name, error)),
        };
        let corrupt = || BusError::Corrupt { name: name.to_owned() };
        if bytes.len() < HEAD || !bytes.starts_with(MAGIC) {
            return Err(corrupt());
        }
        let content = bytes.slice(HEAD..);
        if Sha256::digest(&content).as_slice() != &bytes[MAGIC.len()..HEAD] {
            return Err(corrupt());
        }
        Ok(Some(content))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let folder = match self {
            Self::Memory(objects) => {
                objects.lock().remove(name);
                return Ok(());
            }
            Self::Folder(folder) => folder,
        };
        let path = file_of(folder, name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => sync_folder(&path),
        }
    }

    fn look(&self, name: &str) -> Result<Option<ObjectInfo>, BusError> {
        let folder = match self {
            Self::Memory(objects) => return Ok(objects.lock().get(name).map(|(info, _)| info.clone())),
            Self::Folder(folder) => folder,
        };
        match read_head(&file_of(folder, name), name) {
            Ok(Some(info)) => Ok(Some(info)),
            Ok(None) => Err(BusError::Corrupt { name: name.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BusError::transport(name, error)),
        }
    }

    fn all(&self) -> io::Result<Vec<ObjectInfo>> {
        let folder = match self {
            Self::Memory(objects) => {
                return Ok(objects.lock().values().map(|(info, _)| info.clone()).collect());
            }
            Self::Folder(folder) => folder,
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder.as_path())? {
            let path = entry?.path();
            let Some(name) = name_of(&path) else { continue };
            match read_head(&path, &name) {
                Ok(info) => found.extend(info),
                // Removed since the folder was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        found.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(found)
    }

    /// Runs `work` where blocking is allowed.
    async fn off_the_runtime<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&Self) -> Result<T, BusError> + Send + 'static,
    ) -> Result<T, BusError> {
        let own = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&own)).await;
        done.map_err(|error| BusError::transport(name, error))?
    }
}

#[async_trait]
impl RawObjects for Objects {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<ObjectInfo, BusError> {
        check_name(name)?;
        let own = name.to_owned();
        let store = move |objects: &Self| {
            objects.store(&own, bytes).map_err(|error| BusError::transport(own.as_str(), error))
        };
        self.off_the_runtime(name, store).await
    }

    async fn info(&self, name: &str) -> Result<Option<ObjectInfo>, BusError> {
        let own = name.to_owned();
        self.off_the_runtime(name, move |objects| objects.look(&own)).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, BusError> {
        let own = name.to_owned();
        self.off_the_runtime(name, move |objects| objects.load(&own)).await
    }

    async fn delete(&self, name: &str) -> Result<(), BusError> {
        let own = name.to_owned();
        let remove = move |objects: &Self| {
            objects.remove(&own).map_err(|error| BusError::transport(own.as_str(), error))
        };
        self.off_the_runtime(name, remove).await
    }

    async fn list(&self) -> Result<Vec<ObjectInfo>, BusError> {
        let list = |objects: &Self| objects.all().map_err(|error| BusError::transport("(objects)", error));
        self.off_the_runtime("(objects)", list).await
    }
}

fn file_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{}.object", Token::escape(name).as_str()))
}

/// The object a file belongs to, if it does.
fn name_of(path: &Path) -> Option<String> {
    let is_object = path.extension().is_some_and(|extension| extension == "object");
    Token::unescape(path.file_stem().filter(|_| is_object)?.to_str()?)
}

/// What a file holds, from its head; `None` if it is none of ours.
fn read_head(path: &Path, name: &str) -> io::Result<Option<ObjectInfo>> {
    let mut file = File::open(path)?;
    let mut head = [0; HEAD];
    match file.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        outcome => outcome?,
    }
    if !head.starts_with(MAGIC) {
        return Ok(None);
    }
    let size = file.metadata()?.len() - HEAD as u64;
    Ok(Some(ObjectInfo { name: name.to_owned(), size, digest: hexadecimal(&head[MAGIC.len()..]) }))
}

/// Escaped, a name has to fit into a file name.
fn check_name(name: &str) -> Result<(), BusError> {
    if name.is_empty() || Token::escape(name).as_str().len() > 200 {
        return Err(BusError::Token(TokenError(name.to_owned())));
    }
    Ok(())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
