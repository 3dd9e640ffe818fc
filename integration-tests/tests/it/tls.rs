//! Whom a process believes when it talks to PostgreSQL over TLS.

mod on_cluster {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use ulex_integration_tests::{Postgres, ulex};

    const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/servers/certificates.sh");

    #[test]
    #[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_BIN"]
    fn every_mode_of_tls_asks_for_as_much_as_it_says() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        assert!(Command::new(CERTIFICATES).arg(folder.path()).status().unwrap().success());
        let file = |name: &str| folder.path().join(name).display().to_string();
        let key = file("server.key");
        Postgres::give_away(folder.path().join("server.key").as_path());
        let hba = file("hba.conf");
        fs::write(&hba, "hostssl all client all cert\nhostssl all all all trust\n").unwrap();
        let postgres = Postgres::start_with(&[
            "ssl=on",
            &format!("ssl_cert_file={}", file("server.pem")),
            &format!("ssl_key_file={key}"),
            &format!("ssl_ca_file={}", file("ca.pem")),
            &format!("hba_file={hba}"),
        ]);
        postgres.query("create role client superuser login").unwrap();
        let port = postgres.address().rsplit_once(':').unwrap().1.to_owned();
        let (ca, stranger) = (file("ca.pem"), file("stranger.pem"));
        let identity = format!("sslcert={}&sslkey={}", file("client.pem"), file("client.key"));
        for (who, host, options, works) in [
            ("ulex", "127.0.0.1", "sslmode=disable".to_owned(), false),
            ("ulex", "127.0.0.1", "sslmode=prefer".to_owned(), true),
            ("ulex", "127.0.0.1", "sslmode=require".to_owned(), true),
            ("ulex", "127.0.0.1", format!("sslmode=verify-full&sslrootcert={ca}"), true),
            // The certificate is for the address.
            ("ulex", "localhost", format!("sslmode=verify-full&sslrootcert={ca}"), false),
            ("ulex", "localhost", format!("sslmode=verify-ca&sslrootcert={ca}"), true),
            ("ulex", "127.0.0.1", format!("sslmode=verify-ca&sslrootcert={stranger}"), false),
            ("ulex", "127.0.0.1", "sslmode=verify-full".to_owned(), false),
            ("client", "127.0.0.1", format!("sslmode=verify-full&sslrootcert={ca}&{identity}"), true),
            ("client", "127.0.0.1", format!("sslmode=verify-full&sslrootcert={ca}"), false),
        ] {
            let url = format!("postgres://{who}@{host}:{port}/ulex?{options}");
            let output = ulex(&["data", "checksum", "--store", &url]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.success(), works, "{url}: {said}");
        }
    }
}
