//! A `PgBouncer` in transaction mode before a PostgreSQL: each transaction of a client may get another session.

use std::fs;

use tempfile::TempDir;

use super::Postgres;
use super::postgres::{other_program, query_at};
use crate::child::Running;
use crate::ports::free_port;

/// One `PgBouncer`; gone when dropped.
pub struct PgBouncer {
    port: u16,
    _process: Running,
    _folder: TempDir,
}

impl PgBouncer {
    /// Starts one before `postgres`; `None` if this machine has no such program.
    ///
    /// # Panics
    ///
    /// Panics if it does not become ready within a minute.
    #[must_use]
    pub fn before(postgres: &Postgres) -> Option<Self> {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let places = std::env::split_paths(&paths).chain(["/usr/sbin".into()]);
        let program = places.map(|place| place.join("pgbouncer")).find(|file| file.exists())?;
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let (host, server_port) =
            postgres.address().rsplit_once(':').map(|(a, b)| (a.to_owned(), b.to_owned()))?;
        let text = format!(
            "[databases]\nulex = host={host} port={server_port} user=ulex\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n\
             default_pool_size = 4\nignore_startup_parameters = extra_float_digits,options\n"
        );
        let file = folder.path().join("pgbouncer.ini");
        fs::write(&file, text).unwrap();
        let mut command = other_program(&program);
        command.arg(&file);
        let mut process = Running::start("pgbouncer", &mut command, &folder.path().join("log"));
        process.wait_until_ready(|| query_at(port, "ulex", "select 1").is_ok());
        Some(Self { port, _process: process, _folder: folder })
    }

    /// Like [`Postgres::url`], through it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://ulex@127.0.0.1:{}/ulex?sslmode=disable", self.port)
    }
}
