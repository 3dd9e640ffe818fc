//! Finding the files of a data set.

use std::path::{Path, PathBuf};

use super::ImportError;

/// The plain files of a folder by name.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let read = |source| ImportError::Read { path: folder.to_path_buf(), line: 0, source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The file of this name in a folder, or `folder` itself if it is that file; a `.gz` behind the name is allowed.
pub(super) fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let packed = format!("{name}.gz");
    let is_it =
        |path: &Path| path.is_file() && path.file_name().is_some_and(|file| file == name || file == &*packed);
    let candidates = [folder.to_path_buf(), folder.join(name), folder.join(&packed)];
    candidates.into_iter().find(|path| is_it(path))
}
