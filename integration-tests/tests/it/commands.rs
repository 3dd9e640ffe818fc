//! Commands that end by themselves: what they print, where, and with which status.

use std::process::Output;

use ulex_integration_tests::{Ulex, ulex};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn result(output: &Output) -> (Option<i32>, String, String) {
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn check_config_says_everything_that_is_wrong_or_what_will_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gorse.toml");
    let check = |toml: &str| {
        std::fs::write(&path, toml).unwrap();
        result(&ulex(&["check-config", path.to_str().unwrap()]))
    };
    let (status, output, errors) = check("[master]\nhttp_port = 99999\n[server]\ndefault_n = -1\n");
    assert_eq!((status, output.as_str()), (Some(2), ""));
    assert!(errors.contains("http_port") && errors.contains("default_n"), "{errors}");
    let (status, output, errors) = check(
        "[oidc]\nenable = true\n[[recommend.non-personalized]]\nname = \"top\"\nscore = \"len(feedback)\"\n",
    );
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert!(output.contains("non-personalized/top") && output.contains("oidc.enable"), "{output}");
    assert_eq!(ulex(&["check-config", "none.toml"]).status.code(), Some(2));
}

#[test]
fn an_import_goes_into_a_directory_or_a_server_but_not_past_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let clicks = folder.path().join("clicks.csv");
    std::fs::write(&clicks, "user,item,value\nann,tea,1\nbob,tea,1\n,tea,1\nann,cup,2\n").unwrap();
    let (clicks, own) = (clicks.to_str().unwrap(), folder.path().join("own"));
    let import = |more: &[&str]| {
        result(&ulex(&[&["import", "--format", "csv", clicks, "--type", "click"], more].concat()))
    };
    let server = Ulex::start();
    let taken = server.data_dir();
    let (status, _, errors) = import(&["--data-dir", taken.to_str().unwrap()]);
    assert!(status == Some(1) && errors.contains("stop"), "{errors}");
    let (status, output, errors) =
        import(&["--data-dir", own.to_str().unwrap(), "--url", &server.base_url()]);
    assert_eq!(status, Some(0), "{errors}");
    assert!(output.contains("3 feedback") && output.contains("1 rejected"), "{output}");
    assert!(errors.contains("clicks.csv:4"), "{errors}");
    let mut client = server.client();
    assert_eq!(client.get("/api/feedback/click/ann/cup")["Value"], 2.0);

    let (status, output, errors) = import(&["--data-dir", own.to_str().unwrap()]);
    assert_eq!(status, Some(0), "{errors}");
    assert!(output.contains("3 feedback"), "{output}");
}

#[test]
fn what_is_imported_is_served() {
    let mut server = Ulex::start();
    assert!(server.stop().success());
    let folder = tempfile::tempdir().unwrap();
    let clicks = folder.path().join("clicks.csv");
    std::fs::write(&clicks, "user,item\nann,tea\nbob,tea\nann,cup\n").unwrap();
    let data_dir = server.data_dir();
    let arguments =
        ["import", "--format", "csv", clicks.to_str().unwrap(), "--data-dir", data_dir.to_str().unwrap()];
    let (status, output, errors) = result(&ulex(&arguments));
    assert_eq!(status, Some(0), "{output} {errors}");
    server.restart();
    let mut client = server.client();
    assert_eq!(client.get("/api/user/ann/feedback").as_array().unwrap().len(), 2);
    assert_eq!(client.recommend("bob", 5), ["cup"]);
}

#[test]
fn a_command_line_that_makes_no_sense_has_a_status_of_its_own() {
    assert_eq!(ulex(&["dance"]).status.code(), Some(2));
    assert_eq!(ulex(&["import"]).status.code(), Some(2));
    let (status, output, _) = result(&ulex(&["--version"]));
    assert_eq!(status, Some(0));
    assert!(output.starts_with("ulex "), "{output}");
}
