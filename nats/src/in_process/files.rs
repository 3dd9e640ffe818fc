//! Files that are there as a whole or not at all.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// Marks files that a crash left behind half-written.
pub(super) const UNFINISHED: &str = "unfinished";

/// Writes a file beside itself and puts it in its place; on disk when this returns.
pub(super) fn replace_file(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    put_in_place(path, parts)?;
    sync_folder(path)
}

/// [`replace_file`] up to the point where its name is durable: the file, open for writing. After a failure the old
/// one is still there.
pub(super) fn put_in_place(path: &Path, parts: &[&[u8]]) -> io::Result<File> {
    let beside = path.with_extension(format!("{}.{UNFINISHED}", uuid::Uuid::new_v4().simple()));
    let written = (|| {
        let mut file = File::create_new(&beside)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        Ok(file)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// Makes the name of a file durable, on systems where folders can be synchronised.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Removes what crashes left behind in a folder.
pub(super) fn sweep(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == UNFINISHED) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}
